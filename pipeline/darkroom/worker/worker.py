"""The worker: renders shards and commits them. Plain Python that knows neither Ray nor how models are loaded.

One device thread owns the model of the day. A bounded pool encodes and uploads. Two shards may be in flight at once,
each in a thread of its caller: the second takes the device while the first one's bytes leave.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow as pa

from darkroom.domain.cells import Cell, ModelIdentity, Shard
from darkroom.domain.records import FAILED, INVALID, OK, Record
from darkroom.domain.requests import Sample, samples
from darkroom.encoding.images import pixels_digest, size_fault
from darkroom.planning.tasks import ShardTask
from darkroom.profiling.spans import OFF, Profile
from darkroom.rendering.renderer import FatalDeviceError, RenderedImage, Renderer, RendererInfo
from darkroom.rendering.spec import Compiled
from darkroom.runs import manifest
from darkroom.runs.features import put_features
from darkroom.runs.keys import manifest_key, parse_manifest_key
from darkroom.runs.records import extra_columns, to_records, to_table
from darkroom.runs.run import RunInfo, to_metadata
from darkroom.storage.store import Store
from darkroom.worker.batches import batches
from darkroom.worker.inline import InlineScores, LoadExtractors
from darkroom.worker.layouts import CONTAINERS, place_container, place_image
from darkroom.worker.members import as_rendered, encode_member
from darkroom.worker.models import Load, OneModel
from darkroom.worker.outcomes import Maker, Outcome, place_members, record, recorded_sample
from darkroom.worker.tasks import ProbeTask, RetryTask, ScoreTask, ShardReport, Task

_NUM_ENCODERS = 8  # threads that encode and upload; both release the interpreter's lock
_PENDING_BATCHES = 4  # with the encoders, per worker: what bounds its memory
_POLL_S = 0.5  # how often who waits for room looks whether the worker was stopped


class Stopped(Exception):
    """The worker was asked to stop between two batches."""


class Revised(Exception):
    """The manifest is not what this attempt read: the next one begins with what it is now."""


@dataclass(frozen=True)
class _Work:
    """What all images of one task share."""

    cell: Cell
    shard_id: str
    suffix: str = ""  # of the names of what is stored
    inline: InlineScores | None = None


class Worker:
    """Holds one loaded model and answers tasks, from as many threads as call it."""

    def __init__(
        self,
        run: RunInfo,
        load: Load,
        first: ModelIdentity,
        store: Store,
        load_extractors: LoadExtractors | None = None,
        batch_timeout_s: float | None = None,
        profile: Profile = OFF,
        compiled: Callable[[], Compiled | None] | None = None,
        name: str = "local",
    ) -> None:
        """`first` is the model to load at once; with extractors, fresh shards are scored as they are rendered.

        `compiled` tells what torch.compile made anew: who renders a cell's first shard asks.
        """
        self._run = run
        self._store = store
        self._batch_timeout_s = batch_timeout_s
        self._profile = profile
        self._compiled = compiled
        self._name = name
        self._device = ThreadPoolExecutor(1, "device")
        self._encoders = ThreadPoolExecutor(_NUM_ENCODERS, "encode")
        self._turn = threading.Lock()  # one shard's batches at a time on the device
        self._stop = threading.Event()
        self._counting = threading.Lock()
        self._retries_told, self._loads_told = 0, 1
        self._model = OneModel(load)
        renderer = self._device.submit(self._model.get, first).result()
        self._extractors = self._device.submit(load_extractors).result() if load_extractors else ()
        self._room = threading.BoundedSemaphore(_PENDING_BATCHES * renderer.info.batch_size)

    def run_task(self, task: Task, attempt: int) -> ShardReport:
        """Render and commit; returns once the manifest is there. An exception leaves nothing visible."""
        assert not isinstance(task, ScoreTask | ProbeTask), "another worker's"
        started = time.perf_counter()
        report = self._retry(task, attempt) if isinstance(task, RetryTask) else self._render(task, attempt)
        num_retries, num_loads = self._news()
        wall_s, spans, compiled = time.perf_counter() - started, self._profile.taken(), self._made(task)
        return replace(
            report, wall_s=wall_s, num_retries=num_retries, num_loads=num_loads, spans=spans, compiled=compiled
        )

    def _made(self, task: Task) -> Compiled | None:
        """One worker of a run tells, where all have compiled the same."""
        if self._compiled is None or not isinstance(task, ShardTask) or task.shard.start:
            return None
        return self._device.submit(self._compiled).result()

    def _news(self) -> tuple[int, int]:
        """Store calls made again, and models loaded, since the last report."""
        with self._counting:
            now = self._store.num_retries, self._model.num_loads
            news = now[0] - self._retries_told, now[1] - self._loads_told
            self._retries_told, self._loads_told = now
            return news

    def stop(self) -> None:
        """Make every call that is under way end before its next batch."""
        self._stop.set()

    def close(self) -> None:
        self.stop()
        for pool in (self._device, self._encoders):
            pool.shutdown(wait=False, cancel_futures=True)

    # A fresh shard ---------------------------------------------------------------------------------------------

    def _render(self, task: ShardTask, attempt: int) -> ShardReport:
        shard = task.shard
        wanted = [
            (position, sample)
            for position, row in enumerate(task.rows)
            for sample in samples(row, task.cell, self._run.seed, self._run.num_images_per_prompt)
        ]
        inline = self._inline()
        work = _Work(task.cell, shard.shard_id, inline=inline)
        outcomes, info = self._outcomes(work, [sample for _, sample in wanted])
        if inline:
            self._put_scores(shard, outcomes, inline)
        maker = Maker(task.cell.model, info, shard.cell_id, shard.shard_id, attempt, self._name)
        records = [record(outcome, maker) for outcome in outcomes]
        extras = task.extras.take(pa.array([position for position, _ in wanted], pa.int64()))
        with self._profile.span("commit"):
            ours = manifest.commit(
                self._store, shard, to_table(records, extras, _about(self._run, shard, records, maker))
            )
        if ours:
            self._clear(outcomes)
        return _report(records, ours, [sample for _, sample in wanted])

    def _inline(self) -> InlineScores | None:
        if not self._extractors:
            return None
        return InlineScores(self._extractors, self._device, self._run.output.image_format, self._profile)

    def _put_scores(self, shard: Shard, outcomes: Sequence[Outcome], inline: InlineScores) -> None:
        """Features of what was stored, before the shard is visible."""
        name = parse_manifest_key(manifest_key(shard))
        assert name
        stored = {item.sample.request.image_id: item.placed.sha256 for item in outcomes if item.placed}
        for extractor_id, features in inline.kept(stored).items():
            put_features(self._store, extractor_id, name, features)

    # Failed records, again -------------------------------------------------------------------------------------

    def _retry(self, task: RetryTask, attempt: int) -> ShardReport:
        """What it stores is named after the manifest that it read: see `runs/collecting.py`."""
        before = self._store.get(task.name.key)
        table = manifest.parse(before)
        old = to_records(table)
        failed = [index for index, record in enumerate(old) if record.status == FAILED]
        attempt += max((record.attempt for record in old), default=0)
        wanted = [recorded_sample(old[index], task.cell) for index in failed]
        work = _Work(task.cell, task.name.shard_id, f"-{hashlib.sha256(before).hexdigest()[:16]}")
        outcomes, info = self._outcomes(work, wanted)
        maker = Maker(task.cell.model, info, task.name.cell_id, task.name.shard_id, attempt, self._name)
        again = [record(outcome, maker) for outcome in outcomes]
        new = _spliced(old, failed, again)
        revised = to_table(new, extra_columns(table), manifest.texts(table.schema))
        with self._profile.span("commit"):
            if not manifest.revise(self._store, task.name, before, revised):
                raise Revised(f"{task.name.key} was replaced by another job meanwhile")
        self._clear(outcomes)
        return _report(again, True, wanted)

    # Samples to outcomes ---------------------------------------------------------------------------------------

    def _outcomes(self, work: _Work, wanted: Sequence[Sample]) -> tuple[list[Outcome], RendererInfo]:
        """Render, encode and store; one outcome a sample, in order, and what rendered them."""
        valid = [sample for sample in wanted if not self._fault(sample)]
        ready_s = time.time()
        with self._turn:
            renderer = self._device.submit(self._model.get, work.cell.model).result()
            rendered = self._rendered(renderer, work, valid, ready_s)
            pending = {sample.request.image_id: future for sample, future in rendered}
        done = {image_id: future.result() for image_id, future in pending.items()}
        outcomes = [done.get(item.request.image_id) or Outcome(item, error=self._fault(item)) for item in wanted]
        return self._contained(outcomes, work), renderer.info

    def _fault(self, sample: Sample) -> str | None:
        """Why a sample is not worth rendering: its row is invalid, or no file of the run's format could hold it."""
        sampling = sample.request.sampling
        return sample.row.error or size_fault(self._run.output.image_format, sampling.height, sampling.width)

    def _clear(self, outcomes: Sequence[Outcome]) -> None:
        """Remove what lay in the way of this attempt's objects: the shard is committed, so nothing can name it now."""
        placed = [outcome.placed for outcome in outcomes if outcome.placed]
        self._store.delete({place.superseded for place in placed if place.superseded})

    def _contained(self, outcomes: list[Outcome], work: _Work) -> list[Outcome]:
        """Store the members in their container, where the run's layout has one."""
        layout = CONTAINERS.get(self._run.output.layout)
        if layout is None:
            return outcomes
        members = [outcome.member for outcome in outcomes if outcome.member]
        with self._profile.span("put"):
            name = f"{work.shard_id}{work.suffix}"
            places = place_container(self._store, layout, name, members) if members else {}
        return place_members(outcomes, places)

    def _rendered(
        self, renderer: Renderer, work: _Work, wanted: Sequence[Sample], ready_s: float
    ) -> Iterator[tuple[Sample, "Future[Outcome]"]]:
        for batch in batches(wanted, renderer.info.batch_size, renderer.info.mixes_guidance):
            if self._stop.is_set():
                raise Stopped
            started = time.perf_counter()
            images = self._batch(renderer, batch, ready_s)
            share_s = (time.perf_counter() - started) / len(batch)
            for sample, image in zip(batch, images, strict=True):
                yield sample, self._encode(work, sample, image, share_s)
            ready_s = time.time()

    def _batch(self, renderer: Renderer, batch: Sequence[Sample], ready_s: float) -> list[RenderedImage]:
        """Render a batch; if the call as a whole fails, each image alone, so that one bad prompt costs one row."""
        try:
            return self._call(renderer, batch, ready_s)
        except FatalDeviceError:
            raise
        except Exception as error:
            if self._stop.is_set():
                raise Stopped from error
            if len(batch) == 1:
                return [RenderedImage(None, error=f"{type(error).__name__}: {error}")]
            return [image for sample in batch for image in self._batch(renderer, [sample], ready_s=time.time())]

    def _call(self, renderer: Renderer, batch: Sequence[Sample], ready_s: float) -> list[RenderedImage]:
        """On the device's thread. A call that does not come back takes the device with it: nobody can end it."""
        called = self._device.submit(self._on_device, renderer, batch, ready_s)
        try:
            return called.result(self._batch_timeout_s)  # raises for a call that `close` cancels; `wait` would not end
        except TimeoutError:
            if called.done():  # the renderer's own
                raise
            limit = f"engine.batch_timeout_s={self._batch_timeout_s:g}"
            raise FatalDeviceError(f"a batch did not end within {limit}") from None

    def _on_device(self, renderer: Renderer, batch: Sequence[Sample], ready_s: float) -> list[RenderedImage]:
        with self._profile.span("render", ready_s):
            return renderer.render([sample.request for sample in batch])

    def _encode(self, work: _Work, sample: Sample, image: RenderedImage, render_s: float) -> "Future[Outcome]":
        """Hand an image to the encoders, as soon as they have room for it."""
        ready_s = time.time()
        while not self._room.acquire(timeout=_POLL_S):
            if self._stop.is_set():
                raise Stopped
        future = self._encoders.submit(self._finish, work, sample, image, render_s, ready_s)
        future.add_done_callback(lambda _: self._room.release())  # cancelled ones too
        return future

    def _finish(self, work: _Work, sample: Sample, image: RenderedImage, render_s: float, ready_s: float) -> Outcome:
        """Encode one image and, where it is an object of its own, store it."""
        outcome = Outcome(sample, image.truncated, render_s=render_s, batch_size=image.batch_size)
        if image.pixels is None:
            return replace(outcome, error=image.error or "no pixels")
        sample = as_rendered(sample, image.pixels)
        started = time.perf_counter()
        try:
            with self._profile.span("encode", ready_s):
                member = encode_member(sample, image, work.cell.model, self._run.output)
        except Exception as error:  # encoders raise what they like, and one image costs one record
            return replace(outcome, error=f"not encoded as {self._run.output.image_format}: {error}")
        encode_s = time.perf_counter() - started
        outcome = replace(outcome, sample=sample, encode_s=encode_s, pixels_sha256=pixels_digest(image.pixels))
        if work.inline:
            work.inline.add(member, image.pixels)
        if self._run.output.layout in CONTAINERS:
            return replace(outcome, member=member)
        with self._profile.span("put"):
            placed = place_image(self._store, member, self._run.output.image_format, work.suffix)
            return replace(outcome, placed=placed)


def _about(run: RunInfo, shard: Shard, records: Sequence[Record], maker: Maker) -> dict[str, str]:
    """The manifest's own metadata: what it proves, beyond its rows."""
    return {
        **to_metadata(run),
        "darkroom.shard_id": shard.shard_id,
        "darkroom.prompts_fingerprint": shard.fingerprint,
        "darkroom.rows": f"{shard.start}:{shard.stop}",
        "darkroom.num_images": str(len(records)),
        "darkroom.num_ok": str(sum(record.status == OK for record in records)),
        "darkroom.versions": ", ".join(f"{name} {value}" for name, value in maker.info.versions.items()),
        "darkroom.trust_remote_code": str(maker.model.trust_remote_code).lower(),
    }


def _spliced(old: Sequence[Record], places: Sequence[int], new: Sequence[Record]) -> list[Record]:
    by_place = dict(zip(places, new, strict=True))
    return [by_place.get(index, record) for index, record in enumerate(old)]


def _report(records: Sequence[Record], ours: bool, wanted: Sequence[Sample]) -> ShardReport:
    failed = [record for record in records if record.status != OK]
    return ShardReport(
        num_ok=len(records) - len(failed),
        num_failed=len(failed),
        num_bytes=sum(record.bytes or 0 for record in records),
        render_s=sum(record.render_s or 0.0 for record in records),
        wall_s=0.0,
        ours=ours,
        num_invalid=sum(record.status == INVALID for record in records),
        errors=tuple(f"row {record.row}: {record.error}" for record in failed[:3]),
        resized=tuple(_resized(records, wanted)),
    )


def _resized(records: Sequence[Record], wanted: Sequence[Sample]) -> set[str]:
    """Each change of size that the model made."""
    pairs = [(sample.request.sampling, record.sampling) for sample, record in zip(wanted, records, strict=True)]
    return {
        f"{asked.width}x{asked.height} to {made.width}x{made.height}"
        for asked, made in pairs
        if (asked.width, asked.height) != (made.width, made.height)
    }
