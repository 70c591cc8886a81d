"""Render a prompt dataset. The same command again goes on where it was, and renders nothing twice."""

import shlex
import sys
from collections.abc import Iterator

from omegaconf import DictConfig

from jobs.build import Wanted, renderer_spec, wanted
from jobs.checks import warn
from jobs.cli import INTERRUPTED, run_job
from jobs.engine import Engine, likely_device, started
from jobs.progress import ProgressView
from pipeline.dispatch.events import Summary
from pipeline.planning.plan import num_shards, plan
from pipeline.planning.tasks import shard_tasks
from pipeline.report.contact_sheet import contact_sheet
from pipeline.runs import manifest
from pipeline.runs.keys import CONTACT_SHEET_KEY
from pipeline.runs.reading import first_images
from pipeline.runs.run import RunInfo, create_or_check
from pipeline.storage.opening import open_store
from pipeline.storage.store import Store
from pipeline.worker.spec import WorkerSpec
from pipeline.worker.tasks import Task, task_name

_SHEET_IMAGES = 32


def run(config: DictConfig) -> int:
    found = wanted(config, likely_device(config.engine))
    warn(found)
    store = open_store(found.store)
    store.check()
    with started(config.engine) as engine:
        if engine.device != likely_device(config.engine):
            found = wanted(config, engine.device)
        run_info = create_or_check(store, found.run_info())
        _say_start(found, run_info, store, engine)
        committed = {name.shard_id for name in manifest.committed(store)}
        return _render(found, run_info, store, engine, committed)


def _render(found: Wanted, run_info: RunInfo, store: Store, engine: Engine, committed: set[str]) -> int:
    total = num_shards(run_info.prompts.num_rows, run_info.shard_size)
    left = total - len(committed)
    if committed:
        print(f"{len(committed)} of {total} shards are committed already; {left} are left", flush=True)
    spec = renderer_spec(found.model, engine.device, found.config.engine.batch_size, found.config.engine.compile)
    num_images = round(found.scan.num_images * left / max(total, 1))
    view = ProgressView(num_images)
    try:
        with view:
            if left:
                worker = WorkerSpec(run_info, spec, found.store)
                engine.dispatcher(worker).run(_tasks(found, run_info, committed), view.listen)
    except KeyboardInterrupt:
        _say_interrupted(view, store)
        return INTERRUPTED
    return _say_end(view.summary, view.elapsed_s, found, store)


def _tasks(found: Wanted, run_info: RunInfo, committed: set[str]) -> Iterator[Task]:
    cell = run_info.cell
    prompts = run_info.prompts
    shards = plan(prompts.num_rows, run_info.shard_size, [cell.cell_id], prompts.fingerprint, committed)
    return shard_tasks(shards, {cell.cell_id: cell}, found.dataset.blocks)


# What a person reads -----------------------------------------------------------------------------------------------


def _say_start(found: Wanted, run_info: RunInfo, store: Store, engine: Engine) -> None:
    sampling = run_info.sampling
    print(
        f"{found.scan.num_images} images from {found.scan.num_rows} prompts ({run_info.prompts.name}) with "
        f"{found.ref.repo_id}: {sampling.num_inference_steps} steps of {sampling.scheduler}, guidance "
        f"{sampling.guidance_scale:g}, {sampling.width}x{sampling.height}\n"
        f"into {store.describe()}, on {engine.num_workers} worker(s), {engine.device}",
        flush=True,
    )
    if run_info.shard_size != found.config.engine.shard_size:
        print(f"engine.shard_size={found.config.engine.shard_size} is ignored: this run has {run_info.shard_size}")


def _say_interrupted(view: ProgressView, store: Store) -> None:
    print(
        f"\ninterrupted: {view.summary.num_shards} shards were committed by this start, and nothing half done is "
        f"visible in {store.describe()}\nthe same command goes on from there: {same_command()}",
        flush=True,
    )


def _say_end(summary: Summary, elapsed_s: float, found: Wanted, store: Store) -> int:
    rate = summary.num_ok / max(elapsed_s, 1e-9)
    print(f"\n{summary.num_ok} images rendered in {elapsed_s:.0f} s ({rate:.1f} images/s)")
    say_failures(summary)
    images = first_images(store, _SHEET_IMAGES)
    if images:
        store.put(CONTACT_SHEET_KEY, contact_sheet(images), "image/png")
        print(f"contact sheet: {store.describe(CONTACT_SHEET_KEY)}")
    print(f"output:        {store.describe()}")
    print(f"next:          darkroom verify {run_arguments(found)}", flush=True)
    return 1 if summary.failed_shards or summary.num_failed else 0


def say_failures(summary: Summary) -> None:
    if summary.num_failed:
        print(f"{summary.num_failed} images failed; their records say why:")
        for error in summary.errors:
            print(f"  {error}")
    for task, reason in summary.failed_shards:
        print(f"not committed: {task_name(task)}: {reason}")
    if summary.workers_lost:
        print(f"{summary.workers_lost} worker(s) were lost and replaced")
    if summary.num_retries:
        print(f"{summary.num_retries} store calls were made again")


def run_arguments(found: Wanted) -> str:
    endpoint = f" endpoint_url={found.store.endpoint_url}" if found.store.endpoint_url else ""
    return f"run={found.store.uri}{endpoint}"


def same_command() -> str:
    words = sys.argv[1:]
    return shlex.join(["darkroom", *(words if "generate" in words else ["generate", *words])])


if __name__ == "__main__":
    run_job("generate")
