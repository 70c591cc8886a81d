"""The worker: renders shards and commits them. Start reading at `Worker.render_shard`.

Plain Python, without Ray. One device thread owns the loaded model; a bounded pool encodes and uploads. Two shards
may be in flight at once, each in a thread of its caller: the second takes the device while the first one's bytes leave.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import pyarrow as pa

from darkroom.domain.identity import ModelIdentity
from darkroom.domain.progress import OFF, Doing, Profile
from darkroom.domain.records import Sample, resampled
from darkroom.engine.choosing import Wanted, chosen, digests
from darkroom.engine.device import Device, Load, batches
from darkroom.engine.extraction import (
    InlineFeatures,
    Lane,
    LoadExtractors,
    Scoring,
    columns_read,
    in_order,
    prompt_rows,
)
from darkroom.engine.outcomes import (
    Destination,
    EncoderPool,
    Outcome,
    Provenance,
    put_container,
    record,
    remove_superseded,
)
from darkroom.engine.pictures import Pictures
from darkroom.engine.shard import ShardWork, fault, fresh_shard, overlays, report, retried_shard
from darkroom.engine.tasks import RetryTask, ShardReport, ShardTask, Task
from darkroom.evaluation.extractor import Extractor, end_scorers, has_process, start_scorers
from darkroom.rendering.renderer import Compiled, RendererInfo
from darkroom.runs.features import ShardFeatures, joined_features, put_features
from darkroom.runs.overlays import Overlay
from darkroom.runs.run import RunInfo
from darkroom.runs.signing import ManifestSigner
from darkroom.storage.store import Store

Made = tuple[
    RendererInfo, list[Outcome], Callable[[Mapping[str, str]], dict[str, ShardFeatures]]
]  # the outcome of each place; and of image_id -> file's digest the features by extractor_id


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
        new_compiled: Callable[[], Compiled | None] | None = None,
        name: str = "local",
        signer: ManifestSigner | None = None,
        pictures: Pictures = Pictures(),  # noqa: B008, frozen
    ) -> None:
        """`first` is the model to load at once; with extractors, a fresh shard's features are made as it is rendered.

        `new_compiled` gives what torch.compile made anew; it is asked after a cell's first shard.
        """
        self._run = run
        self._store = store
        self._profile = profile
        self._new_compiled = new_compiled
        self._name = name
        self._pictures = pictures
        self._turn = threading.RLock()  # one shard's batches at a time on the device
        self._under_way = Counter[ModelIdentity]()  # shards by the model that they need
        self._counting = threading.Lock()
        self._retries_reported, self._loads_reported = 0, 1
        self._doing = Doing()
        self._device = Device(load, batch_timeout_s, profile)
        self._extractors: Sequence[Extractor] = ()
        self._scoring = Scoring()
        try:
            batch_size = self._device.model(first.base).info.batch_size
            self._extractors = self._device.submit(load_extractors).result() if load_extractors else ()
            self._device.submit(start_scorers, self._extractors).result()
        except BaseException:  # an interrupt too: its thread would wait for work for ever
            end_scorers(self._extractors)
            self._scoring.close()
            self._device.close()
            raise
        elsewhere = [each for each in self._extractors if has_process(each)]
        here = [each for each in self._extractors if not has_process(each)]
        lanes = Lane(self._device, here), Lane(self._scoring, elsewhere)
        self._lanes = [lane for lane in lanes if lane.extractors]
        self._encoders = EncoderPool(store, run.output, batch_size, self._device.check_not_stopped, profile, signer)

    def run_task(self, task: Task, attempt: int) -> ShardReport:
        """Render and commit; returns once the manifest is there. An exception leaves nothing visible."""
        assert isinstance(task, ShardTask | RetryTask), "another worker's"
        started = time.perf_counter()
        self._doing.taken()  # of a try that failed
        if isinstance(task, RetryTask):
            done = self.render_shard(retried_shard(self._store, self._run.output, task, attempt))
        else:
            done = self.render_shard(fresh_shard(self._store, self._run, task, attempt))
        num_retries, num_loads = self._counts()
        spans, compiled, stage_s = self._profile.taken(), self._compiled_by(task), self._doing.taken()
        done = replace(done, wall_s=time.perf_counter() - started, stage_s=stage_s, spans=spans, compiled=compiled)
        return replace(done, num_retries=num_retries, num_loads=num_loads)

    def render_shard(self, work: ShardWork) -> ShardReport:
        """The life of a shard: read, render, encode, put, commit.

        `engine/planning.py` has read its prompt rows; readers of the run see the shard once its manifest is there.
        """
        # Read. One sample an image; where one cannot be rendered, the reason becomes its record.
        output = self._run.output
        with self._doing.at("reading pictures"), self._profile.span("read"):
            samples, unread = self._pictures.given(work.samples, work.cell.model.base)
        work = replace(work, samples=samples)
        drawn, undrawn = overlays(work, output)
        faults = [
            unread.get(sample.request.image_id) or fault(sample, output) or undrawn.get(sample.row.row)
            for sample in samples
        ]
        wanted = zip(work.samples, work.places, faults, strict=True)
        renderable = [(sample, place) for sample, place, reason in wanted if not reason]

        # Render, encode and put; under a policy image by image as they are chosen.
        make = self._made if self._run.policy is None else self._chosen
        with self._counted(work.cell.model.base):
            info, made, features_of = make(work, renderable, drawn)

        # Gather. One outcome a sample, in order; in some layouts all images are one object, put here.
        ends = iter(made)
        outcomes = [
            Outcome(sample, error=reason) if reason else next(ends)
            for sample, reason in zip(work.samples, faults, strict=True)
        ]
        name = f"{work.shard.shard_id}{work.suffix}"
        with self._doing.at("storing images"):
            outcomes = put_container(self._store, output, name, outcomes, work.extras, self._profile)
        if work.puts_features:
            stored = {item.sample.request.image_id: item.placed.sha256 for item in outcomes if item.placed}
            for extractor_id, found in features_of(stored).items():
                put_features(self._store, extractor_id, work.shard, found)

        # Commit. The manifest is put last, and conditionally: images and records become visible together, and once.
        provenance = Provenance(
            work.cell.model, info, work.shard.cell_id, work.shard.shard_id, work.attempt, self._name
        )
        records = [record(outcome, provenance) for outcome in outcomes]
        with self._profile.span("commit"), self._doing.at("storing the shard's manifest"):
            is_first = work.commit(records, provenance)
        if is_first:
            remove_superseded(self._store, outcomes)
        return report(records, work.samples, is_first)

    def _made(self, work: ShardWork, places: Sequence[Wanted], drawn: Mapping[int, Overlay]) -> Made:
        """The image of each place. `drawn`: texts on images, by row."""
        wanted = [sample for sample, _ in places]
        features = self._inline_features(work, wanted) if work.puts_features else None
        info, made = self._batches(work, wanted, Destination(work.cell.model, work.suffix, features, drawn))
        return info, made, features.of if features else lambda _: {}

    def _chosen(self, work: ShardWork, places: Sequence[Wanted], drawn: Mapping[int, Overlay]) -> Made:
        """The image of each place that the run's policy keeps, of as many rounds of images as that takes."""
        policy = self._run.policy
        assert policy is not None
        info, _ = self._batches(work, [], Destination(work.cell.model))
        resample = partial(resampled, cell=work.cell, run_seed=self._run.seed)
        ends: list[Future[Outcome]] = []
        found: dict[str, list[ShardFeatures]] = {}
        with ExitStack() as turn:
            make = partial(self._looked_at, work, drawn, turn)
            for kept, features in chosen(policy, places, resample, make, info.batch_size):
                ends += [self._encoders.place(outcome, work.suffix) for outcome in kept]
                for extractor_id, part in features.items():
                    found.setdefault(extractor_id, []).append(part)
        with self._doing.at("storing images"):
            made = [end.result() for end in ends]
        joined = {extractor_id: joined_features(parts) for extractor_id, parts in found.items()}
        return info, made, lambda stored: {each: in_order(features, stored) for each, features in joined.items()}

    def _looked_at(
        self, work: ShardWork, drawn: Mapping[int, Overlay], turn: ExitStack, wanted: Sequence[Sample]
    ) -> tuple[list[Outcome], dict[str, ShardFeatures]]:
        """Images that are encoded and not yet put, in order, and what the extractors make of those that are there."""
        features = self._inline_features(work, wanted)
        assert features is not None, "a policy without extractors"
        where = Destination(work.cell.model, work.suffix, features, drawn, is_held=True)
        _, outcomes = self._batches(work, wanted, where, turn)
        with self._doing.at("scoring images"):
            return outcomes, features.of(digests(wanted, outcomes))

    def _batches(
        self, work: ShardWork, wanted: Sequence[Sample], where: Destination, turn: ExitStack | None = None
    ) -> tuple[RendererInfo, list[Outcome]]:
        """Render images and hand them to the pool that encodes and puts them; one outcome each, in order.

        `turn`: keeps the device where a shard that waits for it would have another model loaded meanwhile.
        """
        pending: dict[str, Future[Outcome]] = {}
        # The device is one shard's at a time; this thread gives it a batch, and waits for the pixels.
        ready_s = time.time()
        with self._turn:
            self._doing.add("waiting for the device", time.time() - ready_s)
            renderer = self._device.model(work.cell.model.base)
            for batch in batches(wanted, renderer.info):
                started = time.perf_counter()
                with self._doing.at("rendering"):
                    images = self._device.render(renderer, batch, ready_s)
                render_s = (time.perf_counter() - started) / len(batch)

                # A bounded pool encodes and puts, while the next batch is rendered, of this shard or another.
                with self._doing.at("encoding and storing images"):
                    for sample, image in zip(batch, images, strict=True):
                        pending[sample.request.image_id] = self._encoders.submit(sample, image, render_s, where)
                ready_s = time.time()
            if turn is not None and len(self._under_way) > 1:
                turn.enter_context(self._turn)
        with self._doing.at("encoding and storing images"):
            return renderer.info, [pending[sample.request.image_id].result() for sample in wanted]

    @contextmanager
    def _counted(self, base: ModelIdentity) -> Iterator[None]:
        with self._counting:
            self._under_way[base] += 1
        try:
            yield
        finally:
            with self._counting:
                self._under_way = +(self._under_way - Counter({base: 1}))

    def longest(self) -> tuple[str, float] | None:
        """The stage that one of its threads has been at for longest, with the seconds; None where all are idle."""
        return self._doing.longest()

    def _inline_features(self, work: ShardWork, wanted: Sequence[Sample]) -> InlineFeatures | None:
        """Of images of the shard's rows; None where nothing makes them."""
        if not self._lanes:
            return None
        names = [(sample.row.prompt_id, sample.sample_index) for sample in wanted]
        places = {sample.row.row: place for place, sample in enumerate(work.samples)}
        extras = work.extras.take(pa.array([places[sample.row.row] for sample in wanted], pa.int64()))
        told = prompt_rows(names, extras, columns_read(self._extractors))
        rows = {sample.request.image_id: row for sample, row in zip(wanted, told, strict=True)}
        return InlineFeatures(self._lanes, self._run.output.image_format, self._profile, rows)

    def _counts(self) -> tuple[int, int]:
        """Store calls made again, and models loaded, since the last report."""
        with self._counting:
            now = self._store.num_retries, self._device.num_loads
            new = now[0] - self._retries_reported, now[1] - self._loads_reported
            self._retries_reported, self._loads_reported = now
            return new

    def _compiled_by(self, task: Task) -> Compiled | None:
        """What torch.compile made, from the worker of a cell's first shard alone, as all have compiled the same."""
        if self._new_compiled is None or not isinstance(task, ShardTask) or task.shard.start:
            return None
        return self._device.submit(self._new_compiled).result()

    def close(self) -> None:
        """Make every call that is under way end before its next batch."""
        end_scorers(self._extractors)
        self._scoring.close()
        self._device.close()
        self._encoders.close()
