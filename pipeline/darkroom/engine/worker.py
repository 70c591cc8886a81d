"""The worker: renders shards and commits them. Start reading at `Worker.render_shard`.

Plain Python, without Ray. One device thread owns the loaded model; a bounded pool encodes and uploads. Two shards
may be in flight at once, each in a thread of its caller: the second takes the device while the first one's bytes leave.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace

from darkroom.domain.identity import ModelIdentity
from darkroom.domain.progress import OFF, Doing, Profile
from darkroom.engine.device import Device, Load, batches
from darkroom.engine.extraction import InlineFeatures, Lane, LoadExtractors, Scoring, columns_read, prompt_rows
from darkroom.engine.outcomes import (
    Destination,
    EncoderPool,
    Outcome,
    Provenance,
    put_container,
    record,
    remove_superseded,
)
from darkroom.engine.shard import ShardWork, fault, fresh_shard, overlays, report, retried_shard
from darkroom.engine.tasks import ExportTask, FeatureTask, ProbeTask, RetryTask, ShardReport, ShardTask, Task
from darkroom.evaluation.extractor import Extractor, end_scorers, has_process, start_scorers
from darkroom.rendering.renderer import Compiled
from darkroom.runs.features import put_features
from darkroom.runs.run import RunInfo
from darkroom.runs.signing import ManifestSigner
from darkroom.storage.store import Store


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
    ) -> None:
        """`first` is the model to load at once; with extractors, a fresh shard's features are made as it is rendered.

        `new_compiled` gives what torch.compile made anew; it is asked after a cell's first shard.
        """
        self._run = run
        self._store = store
        self._profile = profile
        self._new_compiled = new_compiled
        self._name = name
        self._turn = threading.Lock()  # one shard's batches at a time on the device
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
        assert not isinstance(task, FeatureTask | ProbeTask | ExportTask), "another worker's"
        started = time.perf_counter()
        self._doing.taken()  # of a try that failed
        if isinstance(task, RetryTask):
            done = self.render_shard(retried_shard(self._store, task, attempt))
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
        drawn, undrawn = overlays(work, output)
        faults = {
            sample.request.image_id: fault(sample, output) or undrawn.get(sample.request.image_id)
            for sample in work.samples
        }
        renderable = [sample for sample in work.samples if not faults[sample.request.image_id]]
        features = self._inline_features(work) if work.makes_features else None
        where = Destination(work.cell.model, work.suffix, features, drawn)
        pending: dict[str, Future[Outcome]] = {}

        # Render. The device is one shard's at a time; this thread gives it a batch, and waits for the pixels.
        ready_s = time.time()
        with self._turn:
            self._doing.add("waiting for the device", time.time() - ready_s)
            renderer = self._device.model(work.cell.model.base)
            info = renderer.info
            for batch in batches(renderable, info):
                started = time.perf_counter()
                with self._doing.at("rendering"):
                    images = self._device.render(renderer, batch, ready_s)
                render_s = (time.perf_counter() - started) / len(batch)

                # Encode and put. A bounded pool does both, while the next batch is rendered, of this shard or another.
                with self._doing.at("encoding and storing images"):
                    for sample, image in zip(batch, images, strict=True):
                        pending[sample.request.image_id] = self._encoders.submit(sample, image, render_s, where)
                ready_s = time.time()

        # Gather. One outcome a sample, in order; in some layouts all images are one object, put here.
        with self._doing.at("encoding and storing images"):
            done = {image_id: future.result() for image_id, future in pending.items()}
        outcomes = [
            done.get(sample.request.image_id) or Outcome(sample, error=faults[sample.request.image_id])
            for sample in work.samples
        ]
        name = f"{work.shard.shard_id}{work.suffix}"
        with self._doing.at("storing images"):
            outcomes = put_container(self._store, self._run.output, name, outcomes, self._profile)
        if features:
            stored = {item.sample.request.image_id: item.placed.sha256 for item in outcomes if item.placed}
            for extractor_id, found in features.of(stored).items():
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

    def longest(self) -> tuple[str, float] | None:
        """The stage that one of its threads has been at for longest, with the seconds; None where all are idle."""
        return self._doing.longest()

    def _inline_features(self, work: ShardWork) -> InlineFeatures | None:
        if not self._lanes:
            return None
        names = [(sample.row.prompt_id, sample.sample_index) for sample in work.samples]
        told = prompt_rows(names, work.extras, columns_read(self._extractors))
        rows = {sample.request.image_id: row for sample, row in zip(work.samples, told, strict=True)}
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
