"""Render a run's failed records again; what succeeds takes the failed record's place."""

from omegaconf import DictConfig

from jobs.build import check_limits, renderer_spec
from jobs.cli import INTERRUPTED, run_job
from jobs.engine import started
from jobs.generate import say_failures
from jobs.progress import ProgressView
from jobs.runs import model_of, opened
from pipeline.runs import manifest
from pipeline.runs.records import FAILED
from pipeline.worker.spec import WorkerSpec
from pipeline.worker.tasks import RetryTask


def run(config: DictConfig) -> int:
    check_limits(config)
    store, run_info = opened(config)
    failed = {}
    for name in manifest.committed(store):
        count = manifest.read(store, name, ["status"])["status"].to_pylist().count(FAILED)
        if count:
            failed[name] = count
    if not failed:
        print("no failed records: nothing to render again")
        return 0
    print(f"{sum(failed.values())} failed records in {len(failed)} shards", flush=True)
    store.check()
    with started(config.engine) as engine:
        spec = renderer_spec(
            model_of(run_info, engine.device), engine.device, config.engine.batch_size, config.engine.compile
        )
        view = ProgressView(sum(failed.values()))
        try:
            with view:
                tasks = iter([RetryTask(name) for name in failed])
                engine.dispatcher(WorkerSpec(run_info, spec, store.spec)).run(tasks, view.listen)
        except KeyboardInterrupt:
            print("\ninterrupted: shards that were not yet replaced are as they were; the same command goes on")
            return INTERRUPTED
    summary = view.summary
    print(f"\n{summary.num_ok} images rendered that had failed before")
    say_failures(summary)
    return 1 if summary.failed_shards or summary.num_failed else 0


if __name__ == "__main__":
    run_job("retry")
