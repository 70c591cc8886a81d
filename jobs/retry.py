"""Render a run's failed records again; what succeeds takes the failed record's place."""

from collections.abc import Sequence

from omegaconf import DictConfig

from jobs.again_models import models_of
from jobs.batch_size import settle_as
from jobs.build import check_limits, renderer_spec
from jobs.cli import INTERRUPTED, run_job
from jobs.engine import started
from jobs.progress import ProgressView
from jobs.render import say_failures
from jobs.runs import OpenedRun, opened
from pipeline.domain.cells import ModelIdentity
from pipeline.runs import manifest
from pipeline.runs.keys import ManifestName
from pipeline.runs.reading import num_failed
from pipeline.worker.spec import WorkerSpec
from pipeline.worker.tasks import RetryTask


def run(config: DictConfig) -> int:
    check_limits(config)
    found = opened(config)
    failed = _failed(found)
    if not failed:
        print("no failed records: nothing to render again")
        return 0
    num_images = sum(failed.values())
    print(f"{num_images} failed records in {len(failed)} shards", flush=True)
    found.store.check()
    settle_as(config.engine, found.info.batch_size)
    with started(config.engine) as engine:
        view = ProgressView(num_images)
        try:
            with view:
                tasks = [RetryTask(name, found.cells[name.cell_id].cell) for name in failed]
                engine.dispatcher(_worker(config, found, tasks, engine.device)).run(iter(tasks), view.listen)
        except KeyboardInterrupt:
            print("\ninterrupted: shards that were not yet replaced are as they were; the same command goes on")
            return INTERRUPTED
    summary = view.summary
    print(f"\n{summary.num_ok} images rendered that had failed before")
    say_failures(summary)
    return 1 if summary.failed_shards or summary.num_failed else 0


def _failed(found: OpenedRun) -> dict[ManifestName, int]:
    """Committed shards with failed records, and how many; those of one model together."""
    counts = {name: num_failed(found.store, [name]) for name in manifest.committed(found.store)}
    order = list({info.cell.model: None for info in found.cells.values()})
    names = sorted(filter(counts.__getitem__, counts), key=lambda name: order.index(_model(found, name)))
    return {name: counts[name] for name in names}


def _model(found: OpenedRun, name: ManifestName) -> ModelIdentity:
    return found.cells[name.cell_id].cell.model


def _worker(config: DictConfig, found: OpenedRun, tasks: Sequence[RetryTask], device: str) -> WorkerSpec:
    models = models_of([found.cells[task.name.cell_id] for task in tasks], config.model, device)
    engine = config.engine
    specs = [renderer_spec(model, device, engine.batch_size, engine.compile) for model in models.values()]
    return WorkerSpec(found.info, tuple(specs), found.store.spec, batch_timeout_s=engine.batch_timeout_s)


if __name__ == "__main__":
    run_job("retry")
