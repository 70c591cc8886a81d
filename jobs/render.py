"""What `generate` and `sweep` share: start the engine, render what is not committed, say what became of it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from darkroom.rendering.spec import Compiled

from darkroom.domain.cells import Shard
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import FAILED, INVALID, Record
from darkroom.engine.events import Summary
from darkroom.engine.planning import num_shards, plan, shard_tasks
from darkroom.engine.spec import WorkerSpec
from darkroom.engine.tasks import Task, task_name
from darkroom.jobs.build import Wanted, renderer_specs
from darkroom.jobs.compiled import KeptCompiled
from darkroom.jobs.engine import Engine, own_device
from darkroom.jobs.evaluation import WantedEvaluation, evaluate
from darkroom.jobs.exits import ExitCode, most_urgent
from darkroom.jobs.profile import JobProfile
from darkroom.jobs.progress import ProgressView
from darkroom.jobs.runs import OpenedRun
from darkroom.jobs.scoring import score
from darkroom.reporting.pictures import contact_sheet
from darkroom.runs.cells import CellInfo, read_cells
from darkroom.runs.commands import on_run
from darkroom.runs.equal_pixels import equal_lines
from darkroom.runs.images import StoredFile, first_images
from darkroom.runs.keys import CONTACT_SHEET_KEY
from darkroom.runs.opening import shards_of
from darkroom.runs.reading import count_statuses
from darkroom.runs.run import RunInfo
from darkroom.storage.store import Store, StoreError

_SHEET_IMAGES = 32


@dataclass(frozen=True)
class Rendering:
    """What is rendered where: a checked command, its run, and the engine that was started for it."""

    found: Wanted
    run: RunInfo
    store: Store
    engine: Engine
    evaluation: WantedEvaluation | None = None  # score images as they are rendered, and measure the run at the end
    starts: frozenset[int] | None = None  # first rows of the shards to render; None: all

    @property
    def num_shards(self) -> int:
        """Of all cells."""
        each = num_shards(self.run.prompts.num_rows, self.run.shard_size)
        return len(self.found.cells) * (each if self.starts is None else len(self.starts))

    def committed(self) -> list[Shard]:
        """Those of its shards that are there. Raises DarkroomError where there are shards of another run."""
        cells = self.found.cell_infos
        return [name for name in shards_of(self.store, self.run) if name.cell_id in cells and self._has(name.start)]

    def unfinished(self) -> list[str]:
        """Cells of which shards are missing."""
        done = Counter(name.cell_id for name in self.committed())
        each = self.num_shards // len(self.found.cells)
        return [cell_id for cell_id in self.found.cell_infos if done[cell_id] < each]

    def tasks(self, done: set[str]) -> Iterator[Task]:
        """Model by model, so that a worker loads each once; then range by range, whose embeddings serve all cells."""
        models, prompts = self.found.models, self.run.prompts
        ordered = sorted(self.found.cells, key=lambda item: models.index(item.model))
        for _, group in groupby(ordered, key=lambda item: item.model):
            cells = {item.cell.cell_id: item.cell for item in group}
            shards = plan(prompts.num_rows, self.run.shard_size, list(cells), prompts.fingerprint, done)
            yield from shard_tasks(
                filter(lambda shard: self._has(shard.start), shards), cells, self.found.dataset.blocks
            )

    def worker(self, compiled: tuple[Compiled, ...] = ()) -> WorkerSpec:
        """`compiled`: see `WorkerSpec`."""
        device, config = self.engine.device, self.engine.config
        extractors = self.evaluation.specs(device) if self.evaluation else ()
        return WorkerSpec(
            self.run,
            renderer_specs(self.found, device),
            self.found.store,
            extractors,
            config.batch_timeout_s,
            config.profile,
            compiled,
        )

    def opened(self) -> OpenedRun:
        return OpenedRun(self.store, self.run, read_cells(self.store))

    def _has(self, start: int) -> bool:
        return self.starts is None or start in self.starts


def render(job: Rendering) -> ExitCode:
    """Render every shard of the wanted cells that is not committed, and measure the run if asked to; the exit code."""
    code = render_shards(job)
    if code is ExitCode.INTERRUPTED:
        return code
    cells = read_cells(job.store)
    for line in equal_lines(job.store, cells, job.run):
        print(f"note: {line}")
    _say_where(job, cells)
    if job.evaluation is None:
        return code
    found = job.opened()
    # Shards of earlier starts, that nobody scored inline, are scored first.
    scored = score(found, job.evaluation.specs(job.engine.device), job.evaluation.extractor_ids, job.engine)
    return most_urgent(code, evaluate(found, job.evaluation, scored, own_device(job.engine.config)))


def render_shards(job: Rendering) -> ExitCode:
    """The exit code of rendering alone."""
    before = job.committed()
    left = job.num_shards - len(before)
    if before:
        print(f"{len(before)} of {job.num_shards} shards are committed already; {left} are left", flush=True)
    each = job.found.num_images / len(job.found.cells) / num_shards(job.run.prompts.num_rows, job.run.shard_size)
    view, profile = ProgressView(round(each * left)), JobProfile(job.engine.config.profile)
    compiled = KeptCompiled(job.found)
    try:
        with view:
            if left:
                tasks = profile.tasks(job.tasks({name.shard_id for name in before}))
                listen = compiled.listener(profile.listener(view.listen))
                job.engine.dispatcher(job.worker(compiled.get())).run(tasks, listen)
    except KeyboardInterrupt:
        _say_stopped("interrupted", view, job.store)
        return ExitCode.INTERRUPTED
    except StoreError:
        _say_stopped("stopped", view, job.store)
        raise
    code = _say_end(view, job, count_statuses(job.store, before))
    profile.keep(job.store)
    return code


# What a person reads -----------------------------------------------------------------------------------------------


def say_start(job: Rendering) -> None:
    asked = job.found.config.engine.shard_size
    print(f"into {job.store.describe()}, on {job.engine.num_workers} worker(s), {job.engine.device}", flush=True)
    if job.run.shard_size != asked:
        print(f"engine.shard_size={asked} is ignored: this run has {job.run.shard_size}")


def _say_stopped(how: str, view: ProgressView, store: Store) -> None:
    print(
        f"\n{how}: {view.summary.num_shards} shards were committed by this start, and nothing half done is visible in "
        f"{store.describe()}",
        flush=True,
    )


def _say_end(view: ProgressView, job: Rendering, before: Counter[str]) -> ExitCode:
    summary, missing = view.summary, job.num_shards - len(job.committed())
    rate = summary.num_ok / max(view.elapsed_s, 1e-9)
    print(f"\n{summary.num_ok} images rendered in {view.elapsed_s:.0f} s ({rate:.1f} images/s)")
    if summary.num_loads:
        num_models, num_cells = len(job.found.models), len(job.found.cells)
        print(f"{summary.num_loads} model load(s), for {num_models} model(s) and {num_cells} cell(s)")
    say_failures(summary)
    if before[FAILED]:
        print(f"{before[FAILED]} images had failed in earlier starts; to render them again:")
        print(f"  {on_run('retry', job.found.store, **_model_settings(job, read_cells(job.store)))}")
    if before[INVALID]:
        print(f"{before[INVALID]} prompt rows were invalid in earlier starts; their records say why")
    if missing:
        print(f"{missing} shards are missing: the same command tries them again")
        return ExitCode.UNFINISHED
    return ExitCode.ROWS_FAILED if summary.num_failed or before[FAILED] or before[INVALID] else ExitCode.OK


def _say_where(job: Rendering, run: Mapping[str, CellInfo]) -> None:
    images = list(_opened(job.store, first_images(job.store, _SHEET_IMAGES)))
    if images:
        job.store.put(CONTACT_SHEET_KEY, contact_sheet(images), "image/png")
        print(f"contact sheet: {job.store.describe(CONTACT_SHEET_KEY)}")
    print(f"output:        {job.store.describe()}")
    verb, more = ("report", {}) if job.evaluation else ("verify", _model_settings(job, run))
    print(f"next:          {on_run(verb, job.found.store, **more)}", flush=True)


def _model_settings(job: Rendering, run: Mapping[str, CellInfo]) -> dict[str, object]:
    """What the run's cells do not say of their models, or say no more: that they are trusted, and where they lie."""
    moved = {
        item.info.ref.repo_id for item in job.found.cells if item.info.ref.repo_id != run[item.cell.cell_id].ref.repo_id
    }
    trusts = any(item.cell.model.trust_remote_code for item in job.found.cells)
    place: dict[str, object] = {"model.repo_id": moved.pop()} if len(moved) == 1 else {}
    return place | ({"model.trust_remote_code": True} if trusts else {})


def _opened(store: Store, files: Iterable[StoredFile]) -> Iterator[tuple[Record, np.ndarray]]:
    """Images with their pixels; who is not what was committed is named, and left out."""
    for file in files:
        try:
            yield file.record, file.pixels()
        except DarkroomError as error:
            said = f"{file.record.image_id} ({store.describe(file.record.key or '')}): {error}"
            print(f"not on the contact sheet: image {said}; see `{on_run('verify', store.spec, stored=True)}`")


def say_failures(summary: Summary) -> None:
    if summary.num_failed:
        print(f"{summary.num_failed} images failed; their records say why:")
        for error in summary.errors:
            print(f"  {error}")
    for change in sorted(summary.resized):
        print(f"warning: the model changed the size of images, {change}; their records and files say what they have")
    for task, reason in summary.failed_shards:
        print(f"not committed: {task_name(task)}: {reason}")
    if summary.workers_lost:
        print(f"{summary.workers_lost} worker(s) were lost and replaced")
    if summary.num_retries:
        print(f"{summary.num_retries} store calls were made again")
