"""Renders what is not committed of a request, and measures it if asked to: what `generate` and `sweep` share."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from darkroom.api.checking import Checked, Request, check, renderer_spec, warnings
from darkroom.api.engine import Engine, likely_device, own_device, settle, started
from darkroom.api.evaluation import CheckedEvaluation, check_evaluation
from darkroom.api.events import (
    BatchSizeSettled,
    CellsEqual,
    NotOnContactSheet,
    Prepared,
    Progress,
    Rendered,
    RenderingEnded,
    RenderingStarted,
    RunWritten,
    Warned,
)
from darkroom.api.listening import CompiledCache, Counting, RenderProfile
from darkroom.api.measuring import EvaluationResult, extract_for, measure
from darkroom.api.run import Run
from darkroom.domain.cells import Shard
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import FAILED, INVALID, Record
from darkroom.engine.planning import num_shards, plan, shard_tasks
from darkroom.engine.spec import WorkerSpec
from darkroom.engine.tasks import Task
from darkroom.rendering.renderer import Compiled
from darkroom.reporting.pictures import contact_sheet
from darkroom.runs.cells import CellInfo, put_choices, read_cells, read_choices
from darkroom.runs.equal_pixels import equal_lines
from darkroom.runs.files import CONTACT_SHEET_KEY
from darkroom.runs.images import StoredFile, first_images
from darkroom.runs.opening import claim, shards_of
from darkroom.runs.reading import count_statuses
from darkroom.runs.run import RunInfo
from darkroom.storage.store import Store, open_store

_SHEET_IMAGES = 32


@dataclass(frozen=True)
class RenderResult:
    """What became of a request."""

    run: Run
    rounds: tuple[Rendered, ...] = field(default=())  # one, or more by successive halving
    evaluation: EvaluationResult | None = None

    @property
    def is_finished(self) -> bool:
        """No shard is missing."""
        return not any(found.num_missing for found in self.rounds)

    @property
    def has_failures(self) -> bool:
        """Of this call or earlier ones: records that are failed or invalid."""
        return any(found.summary.num_failed or found.earlier[FAILED] or found.earlier[INVALID] for found in self.rounds)


@dataclass(frozen=True)
class RenderJob:
    """What is rendered where: a checked request, its run, and the engine that was started for it."""

    found: Checked
    info: RunInfo
    store: Store
    engine: Engine
    progress: Progress
    evaluation: CheckedEvaluation | None = None
    starts: frozenset[int] | None = None  # first rows of the shards to render; None: all

    @property
    def num_shards(self) -> int:
        """Of all cells."""
        each = num_shards(self.info.prompts.num_rows, self.info.shard_size)
        return len(self.found.cells) * (each if self.starts is None else len(self.starts))

    def committed(self) -> list[Shard]:
        """Those of its shards that are there. Raises DarkroomError where there are shards of another run."""
        cells = self.found.cell_infos
        return [name for name in shards_of(self.store, self.info) if name.cell_id in cells and self._has(name.start)]

    def unfinished(self) -> list[str]:
        """Cells of which shards are missing."""
        done = Counter(name.cell_id for name in self.committed())
        each = self.num_shards // len(self.found.cells)
        return [cell_id for cell_id in self.found.cell_infos if done[cell_id] < each]

    def tasks(self, done: set[str]) -> Iterator[Task]:
        """Model by model, so that a worker loads each once; then range by range, whose embeddings serve all cells."""
        models, prompts = self.found.models, self.info.prompts
        ordered = sorted(self.found.cells, key=lambda item: models.index(item.model))
        for _, group in groupby(ordered, key=lambda item: item.model):
            cells = {item.cell.cell_id: item.cell for item in group}
            shards = plan(prompts.num_rows, self.info.shard_size, list(cells), prompts.fingerprint, done)
            blocks = self.found.request.prompts.dataset.blocks
            yield from shard_tasks(filter(lambda shard: self._has(shard.start), shards), cells, blocks)

    def worker(self, compiled: tuple[Compiled, ...] = ()) -> WorkerSpec:
        """`compiled`: see `WorkerSpec`."""
        device, options = self.engine.device, self.engine.options
        specs = (renderer_spec(model, device, options.images_a_batch, options.compile) for model in self.found.models)
        extractors = self.evaluation.specs(device) if self.evaluation else ()
        return WorkerSpec(
            self.info,
            tuple(specs),
            self.found.store,
            extractors,
            options.batch_timeout_s,
            options.profile,
            compiled,
        )

    def opened(self) -> Run:
        return Run(self.store, self.info, read_cells(self.store))

    def _has(self, start: int) -> bool:
        return self.starts is None or start in self.starts


def render(request: Request, progress: Progress) -> RenderResult:
    """Render every shard that is not committed, and measure the run if asked to. The same request again goes on.

    Raises DarkroomError for what cannot be rendered as asked, and StoreError where the store fails. Shards that could
    not be rendered are told in the result: calling again tries them again.
    """
    found = check(request, likely_device(request.engine))
    for text in warnings(found):
        progress(Warned(text))
    evaluation = check_evaluation(request.evaluation, progress) if request.evaluation else None
    if request.halving:
        from darkroom.api.halving import check_halving

        check_halving(request.halving, evaluation)
    store = open_store(found.store)
    store.check()
    with started(request.engine) as engine:
        if engine.device != likely_device(request.engine):
            found = check(request, engine.device)
        job = _claimed(found, store, engine, evaluation, progress)
        if request.halving:
            from darkroom.api.halving import render_by_halving

            return render_by_halving(job, request.halving)
        if request.grid:
            put_choices(store, list(job.found.cell_infos), [])  # every cell of this grid is rendered to its end
        return render_job(job)


def _claimed(
    found: Checked, store: Store, engine: Engine, evaluation: CheckedEvaluation | None, progress: Progress
) -> RenderJob:
    """The job, once the run is this request's."""
    info = claim(store, found.run_info(), found.cell_infos)
    if found.request.grid:
        read_choices(store)  # refuses what cannot be read now, and not once the cells are rendered
    found = found.called_as_in(read_cells(store))
    is_auto = not isinstance(engine.options.batch_size, int)
    info, engine = settle(found, store, engine, info)
    if is_auto:
        progress(BatchSizeSettled(engine.options.images_a_batch))
    asked = engine.options.shard_size
    progress(
        Prepared(
            prompts=found.request.prompts.name,
            num_rows=found.scan.num_rows,
            num_images=found.num_images,
            overriding=found.scan.overriding,
            cells=found.cell_infos,
            run=info,
            is_sweep=found.request.grid is not None,
            place=store.describe(),
            num_workers=engine.num_workers,
            device=engine.device,
            shard_size=info.shard_size,
            ignored_shard_size=asked if asked != info.shard_size else None,
        )
    )
    return RenderJob(found, info, store, engine, progress, evaluation)


def render_job(job: RenderJob, rounds: tuple[Rendered, ...] = ()) -> RenderResult:
    """The job's shards, then a look at the whole run, and its figures if asked for; `rounds`: what was before."""
    rendered = render_shards(job)
    run = job.opened()
    for line in equal_lines(job.store, run.cells, run.info):
        job.progress(CellsEqual(line))
    _write_contact_sheet(job, run.cells)
    if job.evaluation is None:
        return RenderResult(run, (*rounds, rendered))
    # Shards of earlier starts, that nobody scored inline, are scored first.
    extracted = extract_for(run, job.evaluation, job.engine, job.progress)
    evaluated = measure(run, job.evaluation, extracted, own_device(job.engine.options), job.progress)
    return RenderResult(run, (*rounds, rendered), evaluated)


def render_shards(job: RenderJob) -> Rendered:
    """Render what is not committed of the job's shards."""
    before = job.committed()
    left = job.num_shards - len(before)
    each = job.found.num_images / len(job.found.cells) / num_shards(job.info.prompts.num_rows, job.info.shard_size)
    job.progress(RenderingStarted(round(each * left), job.num_shards, len(before)))
    options = job.engine.options
    counting, profile = Counting(job.progress, "rendering", round(each * left)), RenderProfile(options.profile)
    compiled = CompiledCache(options.compile, job.found.models, options.images_a_batch)
    if left:
        tasks = profile.tasks(job.tasks({name.shard_id for name in before}))
        listen = compiled.listener(profile.listener(counting))
        job.engine.dispatcher(job.worker(compiled.get())).run(tasks, listen)
    rendered = Rendered(
        summary=counting.summary,
        elapsed_s=counting.elapsed_s,
        num_missing=job.num_shards - len(job.committed()),
        earlier=count_statuses(job.store, before),
        num_models=len(job.found.models),
        num_cells=len(job.found.cells),
        store=job.found.store,
        model_settings=_model_settings(job, read_cells(job.store)),
    )
    job.progress(RenderingEnded(rendered))
    profile.keep(job.store, job.progress)
    return rendered


def _write_contact_sheet(job: RenderJob, cells: Mapping[str, CellInfo]) -> None:
    images = list(_opened(job, first_images(job.store, _SHEET_IMAGES)))
    if images:
        job.store.put(CONTACT_SHEET_KEY, contact_sheet(images), "image/png")
    sheet = job.store.describe(CONTACT_SHEET_KEY) if images else None
    settings = _model_settings(job, cells)
    job.progress(RunWritten(sheet, job.store.describe(), job.found.store, job.evaluation is not None, settings))


def _opened(job: RenderJob, files: Iterable[StoredFile]) -> Iterator[tuple[Record, np.ndarray]]:
    """Images with their pixels; what is not what was committed is named, and left out."""
    for file in files:
        try:
            yield file.record, file.pixels()
        except DarkroomError as error:
            place = job.store.describe(file.record.key or "")
            job.progress(NotOnContactSheet(file.record.image_id, place, str(error), job.found.store))


def _model_settings(job: RenderJob, cells: Mapping[str, CellInfo]) -> dict[str, object]:
    """What the run's cells do not say of their models, or say no more: that they are trusted, and where they lie."""
    moved = {
        item.info.ref.repo_id
        for item in job.found.cells
        if item.info.ref.repo_id != cells[item.cell.cell_id].ref.repo_id
    }
    trusts = any(item.cell.model.trust_remote_code for item in job.found.cells)
    place: dict[str, object] = {"model.repo_id": moved.pop()} if len(moved) == 1 else {}
    return place | ({"model.trust_remote_code": True} if trusts else {})
