"""Render a run's failed records again; what succeeds takes the failed record's place."""

from collections.abc import Sequence

from omegaconf import DictConfig

from darkroom.domain.cells import ModelIdentity, Shard
from darkroom.domain.records import FAILED, INVALID
from darkroom.engine.spec import WorkerSpec
from darkroom.engine.tasks import RetryTask
from darkroom.jobs.again_models import models_of
from darkroom.jobs.batch_size import settle_as
from darkroom.jobs.build import renderer_spec
from darkroom.jobs.engine import started
from darkroom.jobs.exits import ExitCode
from darkroom.jobs.progress import ProgressView
from darkroom.jobs.render import say_failures
from darkroom.jobs.runs import OpenedRun, check_writable, opened
from darkroom.runs import manifest
from darkroom.runs.reading import count_statuses


def run(config: DictConfig) -> int:
    found = opened(config)
    failed = _failed(found)
    if not failed:
        print("no failed records: nothing to render again")
        return _say_left(found)
    num_images = sum(failed.values())
    print(f"{num_images} failed records in {len(failed)} shards", flush=True)
    check_writable(found)
    settle_as(config.engine, found.info.batch_size)
    with started(config.engine) as engine:
        view = ProgressView(num_images)
        try:
            with view:
                tasks = [RetryTask(name, found.cells[name.cell_id].cell) for name in failed]
                engine.dispatcher(_worker(config, found, tasks, engine.device)).run(iter(tasks), view.listen)
        except KeyboardInterrupt:
            print("\ninterrupted: shards that were not yet replaced are as they were")
            return ExitCode.INTERRUPTED
    summary = view.summary
    print(f"\n{summary.num_ok} images rendered that had failed before")
    say_failures(summary)
    left = _say_left(found)
    return ExitCode.UNFINISHED if summary.failed_shards else left


def _say_left(found: OpenedRun) -> ExitCode:
    """What no retry mends is no less failed."""
    by_status = count_statuses(found.store, manifest.committed(found.store))
    if by_status[INVALID]:
        print(f"{by_status[INVALID]} prompt rows are invalid, and stay so; their records say why")
    return ExitCode.ROWS_FAILED if by_status[FAILED] or by_status[INVALID] else ExitCode.OK


def _failed(found: OpenedRun) -> dict[Shard, int]:
    """Committed shards with failed records, and how many; those of one model together."""
    counts = {name: count_statuses(found.store, [name])[FAILED] for name in manifest.committed(found.store)}
    order = list({info.cell.model: None for info in found.cells.values()})
    names = sorted(filter(counts.__getitem__, counts), key=lambda name: order.index(_model(found, name)))
    return {name: counts[name] for name in names}


def _model(found: OpenedRun, name: Shard) -> ModelIdentity:
    return found.cells[name.cell_id].cell.model


def _worker(config: DictConfig, found: OpenedRun, tasks: Sequence[RetryTask], device: str) -> WorkerSpec:
    models = models_of([found.cells[task.shard.cell_id] for task in tasks], config.model, device)
    engine = config.engine
    specs = [renderer_spec(model, device, engine.batch_size, engine.compile) for model in models.values()]
    return WorkerSpec(found.info, tuple(specs), found.store.spec, batch_timeout_s=engine.batch_timeout_s)
