"""Renders a run's failed records again; what succeeds takes the failed record's place."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from darkroom.api.checking import renderer_spec
from darkroom.api.engine import settled_as, started
from darkroom.api.events import Progress, RetryStarted, StageEnded
from darkroom.api.listening import Counting
from darkroom.api.options import EngineOptions, ModelPlace
from darkroom.api.rerender import models_of
from darkroom.api.run import Run, check_writable
from darkroom.domain.cells import ModelIdentity, Shard
from darkroom.domain.records import FAILED, INVALID
from darkroom.engine.spec import WorkerSpec
from darkroom.engine.tasks import RetryTask, Summary
from darkroom.runs import manifest
from darkroom.runs.reading import count_statuses


@dataclass(frozen=True)
class Retry:
    """What became of a run's failed records."""

    num_tried: int
    summary: Summary
    by_status: Counter[str]  # all records of the run, as they are now

    @property
    def is_finished(self) -> bool:
        """Every shard that had a failed record was tried."""
        return not self.summary.failed_shards

    @property
    def has_failures(self) -> bool:
        """What no retry mends is no less failed."""
        return bool(self.by_status[FAILED] or self.by_status[INVALID])


def retry(
    run: Run,
    engine: EngineOptions,
    progress: Progress,
    model: ModelPlace = ModelPlace(),  # noqa: B008, frozen
) -> Retry:
    failed = _failed(run)
    summary = Summary()
    if failed:
        num_images = sum(failed.values())
        progress(RetryStarted(num_images, len(failed)))
        check_writable(run)
        tasks = [RetryTask(name, run.cells[name.cell_id].cell) for name in failed]
        counting = Counting(progress, "retry", num_images)
        with started(settled_as(engine, run.info)) as ready:
            spec = _worker(run, tasks, model, ready.options, ready.device)
            ready.dispatcher(spec).run(iter(tasks), counting)
        progress(StageEnded("retry"))
        summary = counting.summary
    return Retry(sum(failed.values()), summary, count_statuses(run.store, manifest.committed(run.store)))


def _failed(run: Run) -> dict[Shard, int]:
    """Committed shards with failed records, and how many; those of one model together."""
    counts = {name: count_statuses(run.store, [name])[FAILED] for name in manifest.committed(run.store)}
    order = list({info.cell.model: None for info in run.cells.values()})
    names = sorted(filter(counts.__getitem__, counts), key=lambda name: order.index(_model(run, name)))
    return {name: counts[name] for name in names}


def _model(run: Run, name: Shard) -> ModelIdentity:
    return run.cells[name.cell_id].cell.model


def _worker(run: Run, tasks: Sequence[RetryTask], place: ModelPlace, options: EngineOptions, device: str) -> WorkerSpec:
    models = models_of([run.cells[task.shard.cell_id] for task in tasks], place, device)
    specs = [renderer_spec(model, device, options.images_a_batch, options.compile) for model in models.values()]
    return WorkerSpec(run.info, tuple(specs), run.store.spec, batch_timeout_s=options.batch_timeout_s)
