"""What `generate` and `sweep` share: start the engine, render what is not committed, say what became of it."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby

from jobs.build import Wanted, renderer_specs
from jobs.cli import INTERRUPTED
from jobs.engine import Engine
from jobs.evaluation import WantedEvaluation, evaluate
from jobs.progress import ProgressView
from jobs.runs import OpenedRun
from jobs.scoring import score
from pipeline.dispatch.events import Summary
from pipeline.planning.plan import num_shards, plan
from pipeline.planning.tasks import shard_tasks
from pipeline.report.contact_sheet import contact_sheet
from pipeline.runs import manifest
from pipeline.runs.cells import read_cells
from pipeline.runs.keys import CONTACT_SHEET_KEY, ManifestName
from pipeline.runs.reading import first_images, num_failed
from pipeline.runs.run import RunInfo
from pipeline.storage.store import Store
from pipeline.worker.spec import WorkerSpec
from pipeline.worker.tasks import Task, task_name

_SHEET_IMAGES = 32


def render(
    found: Wanted, run_info: RunInfo, store: Store, engine: Engine, evaluation: WantedEvaluation | None = None
) -> int:
    """Render every shard of the wanted cells that is not committed, and measure the run if asked to; the exit code."""
    before = committed(found, store)
    total = num_shards(run_info.prompts.num_rows, run_info.shard_size) * len(found.cells)
    left = total - len(before)
    if before:
        print(f"{len(before)} of {total} shards are committed already; {left} are left", flush=True)
    view = ProgressView(round(found.scan.num_images * len(found.cells) * left / max(total, 1)))
    try:
        with view:
            if left:
                specs = renderer_specs(found, engine.device)
                extractors = evaluation.specs(engine.device) if evaluation else ()
                worker = WorkerSpec(run_info, specs, found.store, extractors, engine.config.batch_timeout_s)
                done = {name.shard_id for name in before}
                engine.dispatcher(worker).run(tasks(found, run_info, done), view.listen)
    except KeyboardInterrupt:
        _say_interrupted(view, store)
        return INTERRUPTED
    missing = total - len(committed(found, store))
    code = _say_end(view, found, store, num_failed(store, before), missing)
    return (
        max(code, _evaluate(OpenedRun(store, run_info, read_cells(store)), engine, evaluation)) if evaluation else code
    )


def _evaluate(run: OpenedRun, engine: Engine, evaluation: WantedEvaluation) -> int:
    """Shards of earlier starts, that nobody scored inline, are scored first."""
    score(run, evaluation.specs(engine.device), evaluation.extractor_ids, engine)
    return evaluate(run, evaluation, engine.config.device)


def committed(found: Wanted, store: Store) -> list[ManifestName]:
    """Shards of the wanted cells that are there."""
    cells = found.cell_infos
    return [name for name in manifest.committed(store) if name.cell_id in cells]


def tasks(found: Wanted, run_info: RunInfo, done: set[str]) -> Iterator[Task]:
    """Model by model, so that a worker loads each once; then range by range, so that its embeddings serve all cells."""
    ordered = sorted(found.cells, key=lambda item: found.models.index(item.model))
    for _, group in groupby(ordered, key=lambda item: item.model):
        cells = {item.cell.cell_id: item.cell for item in group}
        prompts = run_info.prompts
        shards = plan(prompts.num_rows, run_info.shard_size, list(cells), prompts.fingerprint, done)
        yield from shard_tasks(shards, cells, found.dataset.blocks)


# What a person reads -----------------------------------------------------------------------------------------------


def say_start(found: Wanted, run_info: RunInfo, store: Store, engine: Engine) -> None:
    print(f"into {store.describe()}, on {engine.num_workers} worker(s), {engine.device}", flush=True)
    if run_info.shard_size != found.config.engine.shard_size:
        print(f"engine.shard_size={found.config.engine.shard_size} is ignored: this run has {run_info.shard_size}")


def _say_interrupted(view: ProgressView, store: Store) -> None:
    print(
        f"\ninterrupted: {view.summary.num_shards} shards were committed by this start, and nothing half done is "
        f"visible in {store.describe()}\nthe same command goes on from there: {same_command()}",
        flush=True,
    )


def _say_end(view: ProgressView, found: Wanted, store: Store, failed_before: int, missing: int) -> int:
    summary = view.summary
    rate = summary.num_ok / max(view.elapsed_s, 1e-9)
    print(f"\n{summary.num_ok} images rendered in {view.elapsed_s:.0f} s ({rate:.1f} images/s)")
    if summary.num_loads:
        print(f"{summary.num_loads} model load(s), for {len(found.models)} model(s) and {len(found.cells)} cell(s)")
    say_failures(summary)
    if failed_before:
        print(f"{failed_before} images had failed in earlier starts; `darkroom retry` renders them again")
    if missing:
        print(f"{missing} shards are missing: the same command tries them again")
    _say_where(found, store)
    return 1 if summary.failed_shards or summary.num_failed or failed_before or missing else 0


def _say_where(found: Wanted, store: Store) -> None:
    images = first_images(store, _SHEET_IMAGES)
    if images:
        store.put(CONTACT_SHEET_KEY, contact_sheet(images), "image/png")
        print(f"contact sheet: {store.describe(CONTACT_SHEET_KEY)}")
    print(f"output:        {store.describe()}")
    print(f"next:          darkroom verify {run_arguments(found)}", flush=True)


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
    return shlex.join([f"run={found.store.uri}"]) + endpoint


def same_command(jobs: Sequence[str] = ("generate", "sweep")) -> str:
    words = sys.argv[1:]
    job = next((job for job in jobs if job in words or sys.argv[0].endswith(f"{job}.py")), jobs[0])
    return shlex.join(["darkroom", *(words if job in words else [job, *words])])
