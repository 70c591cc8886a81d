"""Renders what is not committed of a request, and measures it if asked to: what `generate` and `sweep` share."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from darkroom.api.checking import Checked, Request, check
from darkroom.api.compiling import chosen
from darkroom.api.engine import Engine, likely_device, started
from darkroom.api.evaluation import CheckedEvaluation, check_columns, check_evaluation, check_frames
from darkroom.api.events import (
    BatchSizeSettled,
    CellsEqual,
    Noted,
    NotOnContactSheet,
    Prepared,
    Progress,
    Rendered,
    RunWritten,
    Warned,
)
from darkroom.api.folder_card import write_card
from darkroom.api.footprint import check_weights
from darkroom.api.growing import grown, growth_of, order_of
from darkroom.api.halving import check_first_round, check_halving, halved, halving_fault
from darkroom.api.measuring import EvaluationResult, extract_for, measure
from darkroom.api.options import AUTO, EngineOptions
from darkroom.api.policies import check_policy, with_policy
from darkroom.api.proving import is_testable, proofs_of, settled_proofs
from darkroom.api.render_job import RenderJob, render_shards, renderer_specs
from darkroom.api.run import Run
from darkroom.api.speeds import settle
from darkroom.api.warnings import warnings
from darkroom.api.watching import check_watching
from darkroom.domain.certificates import Certificate
from darkroom.domain.errors import DarkroomError
from darkroom.domain.process import from_anywhere
from darkroom.domain.progress import told_of_copies
from darkroom.domain.records import Record, num_without_image
from darkroom.reporting.pictures import contact_sheet
from darkroom.runs.cells import CellInfo, put_choices, read_cells, read_choices
from darkroom.runs.equal_pixels import equal_lines
from darkroom.runs.files import CONTACT_SHEET_KEY, kept_key
from darkroom.runs.images import StoredFile, first_images
from darkroom.runs.opening import claim, older_defaults
from darkroom.runs.run import RunInfo, find_run, open_run
from darkroom.storage.store import Store, open_store, parse_spec

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
        return any(found.summary.num_failed or num_without_image(found.earlier) for found in self.rounds)


def render(request: Request, progress: Progress) -> RenderResult:
    """Render every shard that is not committed, and measure the run if asked to. The same request again goes on.

    Raises DarkroomError for what cannot be rendered as asked, and StoreError where the store fails. Shards that could
    not be rendered are told in the result: calling again tries them again.
    """
    check_watching(request.engine, progress)
    with told_of_copies(progress):
        found = check(request, likely_device(request.engine))
    for text in warnings(found):
        progress(Warned(text))
    weight_bytes = check_weights(found, likely_device(request.engine))
    evaluation = check_evaluation(request.evaluation, progress) if request.evaluation else None
    policy = check_policy(found, evaluation, progress)
    found = with_policy(found, policy)
    if request.halving:
        check_halving(request.halving, evaluation)
    if evaluation:
        check_columns(evaluation, found.scan.extras_schema.names)
        check_frames(evaluation, found.are_videos)
    store = open_store(found.store)
    _check_older_places(found, store)
    store.check()
    if request.halving and evaluation:
        run = find_run(store)
        if fault := halving_fault(found, request.halving, run):
            progress(Warned(f"halving: no cell can be dropped: {fault}"))
        else:
            check_first_round(found, request.halving, evaluation, run)
    with started(request.engine) as engine:
        if engine.device != likely_device(request.engine):
            found = with_policy(check(request, engine.device), policy)
            weight_bytes = check_weights(found, engine.device)
        job = replace(_claimed(found, store, engine, evaluation, weight_bytes, progress), policy=policy)
        if request.halving:
            return render_whole(*halved(job, request.halving))
        if request.grid:
            put_choices(store, list(job.found.cell_infos), [])  # every cell of this grid is rendered to its end
        return render_whole(job)


def _check_older_places(found: Checked, store: Store) -> None:
    """Refuse to begin anew what was begun where an older version called its folder by its own defaults."""
    for uri, cell in found.older_places.items():
        there = open_store(parse_spec(uri))
        begun = find_run(there)
        if begun and not begun.version and find_run(store) is None:
            raise older_defaults(there.describe(), cell, found.cells[0].cell)


def _claimed(
    found: Checked,
    store: Store,
    engine: Engine,
    evaluation: CheckedEvaluation | None,
    weight_bytes: int | None,
    progress: Progress,
) -> RenderJob:
    """The job, once the run is this request's."""
    asked, is_auto = engine, engine.options.batch_size == AUTO
    compiling = chosen(found, engine.options, engine.device, engine.num_workers, find_run(store))
    engine = engine.with_compile(compiling.is_on)
    # What is refused for want of a certificate is so before anything is written, where the batch size is known by then.
    kept = {} if is_auto else _proofs(found, engine)
    wanted = _with_kept(replace(found.run_info(), compile=compiling.is_on), found)
    older = (found.scan.older_fingerprint, found.older_cells, found.request.prompts.dataset.etag_fingerprints)
    growth = growth_of(found, wanted.prompts, store)
    if growth:
        run = open_run(store)
        as_it_is = replace(wanted, prompts=run.prompts, earlier_prompts=run.earlier_prompts)
        info = grown(store, claim(store, as_it_is, found.cell_infos, *older), growth)
        progress(Noted(growth.text))
    else:
        info = claim(store, wanted, found.cell_infos, *older)
    if file := found.request.prompts.kept:
        store.put_if_absent(kept_key(file.name), file.read_bytes())
    if asked.options.compile == AUTO and info.compile not in (None, compiling.is_on):  # another start was first
        return _claimed(found, store, asked, evaluation, weight_bytes, progress)
    if found.request.grid:
        read_choices(store)  # refuses what cannot be read now, and not once the cells are rendered
    found = found.called_as_in(read_cells(store))
    info, engine = settle(found, store, engine, info)
    if is_auto:
        progress(BatchSizeSettled(engine.options.images_a_batch))
        kept = _proofs(found, engine)
    certificates = settled_proofs(found.models, kept, store, info, progress)
    progress(_prepared(found, info, store, engine, weight_bytes, compiling.text))
    order = growth.order if growth else order_of(store, info)
    first_rows = _first_rows(engine.options, info)
    return RenderJob(found, info, store, engine, progress, evaluation, certificates, first_rows, order)


def _with_kept(wanted: RunInfo, found: Checked) -> RunInfo:
    """With prompts of standard input called as the run keeps them."""
    if (file := found.request.prompts.kept) is None:
        return wanted
    place = {"uri": f"{from_anywhere(found.store.uri)}/{kept_key(file.name)}"}
    place |= {"endpoint_url": found.store.endpoint_url} if found.store.endpoint_url else {}
    return replace(wanted, prompts=replace(wanted.prompts, settings={**wanted.prompts.settings, **place}))


def _prepared(
    found: Checked, info: RunInfo, store: Store, engine: Engine, weight_bytes: int | None, compiling: str
) -> Prepared:
    shard_size = engine.options.shard_size
    return Prepared(
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
        ignored_shard_size=None if shard_size in (AUTO, info.shard_size) else int(shard_size),
        weight_bytes=weight_bytes,
        backends=tuple(sorted({spec.backend for spec in renderer_specs(found, engine) if is_testable(spec.model)})),
        compiling=compiling,
    )


def _first_rows(options: EngineOptions, info: RunInfo) -> frozenset[int] | None:
    """Of the shards of `engine.part`: every n-th range of rows, so that a range's embeddings serve all cells."""
    if options.part is None:
        return None
    number, of = options.part_of
    ranges = info.first_rows
    if of > len(ranges):
        raise DarkroomError(
            f"engine.part={options.part}: the run's prompts are {len(ranges)} shards of {info.shard_size} rows, which "
            f"are no {of} parts; give fewer parts, or another output.uri with a smaller engine.shard_size"
        )
    return frozenset(ranges[number - 1 :: of])


def _proofs(found: Checked, engine: Engine) -> dict[str, Certificate]:
    return proofs_of(found.cells, renderer_specs(found, engine), engine.options, found.overriding)


def render_whole(job: RenderJob, rounds: tuple[Rendered, ...] = ()) -> RenderResult:
    """The job's shards, then what the whole run shows, and its figures if asked for; `rounds`: what was before."""
    rendered = render_shards(job)
    run = job.opened()
    for line in equal_lines(job.store, run.cells, run.info):
        job.progress(CellsEqual(line))
    write_card(run, job.progress)
    _write_contact_sheet(job, run.cells)
    if job.evaluation is None:
        return RenderResult(run, (*rounds, rendered))
    if job.engine.options.part and not run.status().is_finished:
        job.progress(Noted("shards of other parts are left: the part that ends last measures the run"))
        return RenderResult(run, (*rounds, rendered))
    if not any(True for _ in first_images(job.store, 1)):
        job.progress(Warned("no image is committed, so that nothing is measured"))
        return RenderResult(run, (*rounds, rendered))
    # Shards of earlier calls may lack features: they get them first.
    extracted = extract_for(run, job.evaluation, job.engine, job.progress)
    evaluated = measure(run, job.evaluation, extracted, job.engine, job.progress)
    return RenderResult(run, (*rounds, rendered), evaluated)


def _write_contact_sheet(job: RenderJob, cells: Mapping[str, CellInfo]) -> None:
    images = list(_opened(job, first_images(job.store, _SHEET_IMAGES)))
    if images:
        job.store.put(CONTACT_SHEET_KEY, contact_sheet(images), "image/png")
    sheet = job.store.describe(CONTACT_SHEET_KEY) if images else None
    settings = job.model_settings(cells)
    job.progress(RunWritten(sheet, job.store.describe(), job.found.store, job.evaluation is not None, settings))


def _opened(job: RenderJob, files: Iterable[StoredFile]) -> Iterator[tuple[Record, np.ndarray]]:
    """Images with their pixels; what is not what was committed is named, and left out."""
    for file in files:
        try:
            yield file.record, file.pixels()
        except DarkroomError as error:
            place = job.store.describe(file.record.key or "")
            job.progress(NotOnContactSheet(file.record.image_id, place, str(error), job.found.store))
