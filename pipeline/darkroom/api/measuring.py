"""From features to figures: every cell of a run measured, and stored beside it."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache as once
from functools import partial

import numpy as np

from darkroom.api.engine import Engine, driver_device, started
from darkroom.api.evaluation import (
    CheckedEvaluation,
    Extracted,
    check_columns,
    check_evaluation,
    check_frames,
    extract,
    is_rated,
    stored_options,
)
from darkroom.api.evaluation_options import EvaluationOptions, Expectation
from darkroom.api.events import Noted, Progress, ReferenceRead, Warned, silent
from darkroom.api.gathering import gathered_cell
from darkroom.api.groups import Groups
from darkroom.api.options import EngineOptions
from darkroom.api.rating import ratings_of
from darkroom.api.run import Run, check_writable
from darkroom.api.watching import check_watching
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.domain.policy import Policy
from darkroom.domain.prompt_syntax import read_prompt
from darkroom.engine.rescoring import rescored
from darkroom.evaluation.breakdowns import breakdown_table, broken_down
from darkroom.evaluation.catalogue import definition
from darkroom.evaluation.controls import (
    SHUFFLED,
    merged,
    reads_captions,
    real_control,
    real_row,
    rescored_control,
    shuffled_control,
)
from darkroom.evaluation.extractor import CaptionExtractor, Extractor, ExtractorSpec
from darkroom.evaluation.figure_tables import costs_table, figures_table
from darkroom.evaluation.figures import (
    Control,
    Evaluation,
    Figure,
    Figures,
    Gap,
    Metric,
    kind_of,
    put_evaluation,
    reference_of,
)
from darkroom.evaluation.gaps import costs, differences, gaps
from darkroom.evaluation.gathering import Gathered
from darkroom.evaluation.inception_extractor import InceptionExtractor
from darkroom.evaluation.inputs import Logits
from darkroom.evaluation.latest import latest_figures
from darkroom.evaluation.measuring import MeasuredCell, measured_cell, metric_infos, rank_fault
from darkroom.evaluation.opening import load_extractor
from darkroom.evaluation.reference import Reference, ReferenceFeatures
from darkroom.evaluation.reference_measuring import cached_captions, default_cache, reference_features
from darkroom.reporting.brief import WIDTH, in_brief
from darkroom.reporting.content import CellResult
from darkroom.reporting.facts import axes_of, settings_of_cells
from darkroom.runs import manifest
from darkroom.runs.cells import dropped_cells, lossless_of
from darkroom.runs.commands import on_run
from darkroom.runs.features import ExtractorInfo
from darkroom.runs.manifest import extra_columns
from darkroom.runs.reading import PresentImages, present_images

_OF_CHOSEN = "the run's policy chose images by it, so that it says how they were chosen, not what the model makes"


@dataclass(frozen=True)
class Verdict:
    """Whether a figure of a cell lies where it is expected to."""

    expected: Expectation
    cell_id: str
    value: float

    @property
    def holds(self) -> bool:
        return self.expected.lowest <= self.value <= self.expected.highest


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found: `evaluation.cells[cell_id][name]` are the figures."""

    run: Run
    evaluation: Evaluation
    num_left_out: int  # images that have no features, and count in no figure
    verdicts: tuple[Verdict, ...]  # on what was expected, of cells that were not dropped

    @property
    def brief(self) -> str:
        """Which setting, how sure, and the figures that say so, in lines of 80 characters."""
        found, info = self.evaluation, self.run.info
        settings = settings_of_cells({cell_id: self.run.cells[cell_id] for cell_id in found.cells}, info)
        cells = [
            CellResult(cell_id, settings[cell_id], 0, 0, figures, found.gaps.get(cell_id, {}))
            for cell_id, figures in found.cells.items()
        ]
        shown = latest_figures([found], found.cells).metrics.values()
        return in_brief(cells, axes_of(settings, settings), tuple(shown), found.controls) + self._about_cells

    @property
    def table(self) -> str:
        """The figures with their intervals, definitions and warnings, as plain text."""
        found, cells = self.evaluation, self.run.cells
        settings = {cell_id: info.settings_in(self.run.info) for cell_id, info in cells.items()}
        return figures_table(found.metrics, found.cells, settings, found.gaps, found.controls) + self._about_cells

    @property
    def _about_cells(self) -> str:
        """What else is to be known where cells are compared."""
        found, text = self.evaluation, ""
        settings = {cell_id: info.settings_in(self.run.info) for cell_id, info in self.run.cells.items()}
        if len({settings[cell_id]["sampling.seed"] for cell_id in found.cells}) > 1:
            text += "\nnote: images of cells with different seeds share their prompt and not their noise"
        if self.run.info.policy and len(found.cells) > 1:
            text += "\nnote: the policy chose samples in each cell, so that paired images may share their prompt alone"
        if any(found.costs.values()):
            text += f"\n\n{costs_table(found.metrics, _lossy_settings(self.run, found), found.costs, WIDTH)}"
        for column, groups in ((name, groups) for name, groups in found.by.items() if groups):
            text += f"\n\n{breakdown_table(column, groups, found.metrics, settings, WIDTH)}"
        return text

    @property
    def is_good(self) -> bool:
        """Nothing is left out, and every figure lies where it is expected to."""
        return not self.num_left_out and all(verdict.holds for verdict in self.verdicts)


def evaluate(run: Run, options: EvaluationOptions, engine: EngineOptions, progress: Progress) -> EvaluationResult:
    """Make the features that are missing, on the engine; then measure every cell, and store the figures."""
    check_watching(engine, progress)
    expects_votes = any(is_rated(each.figure) for each in options.expect)
    votes = expects_votes and ratings_of(run, options.seed, silent) is not None
    wanted = check_evaluation(options, progress, votes)
    check_writable(run)
    check_frames(wanted, run.info.output.video)
    if wanted.reads_columns:
        check_columns(wanted, _columns(run))
    with started(engine) as ready:
        extracted = extract_for(run, wanted, ready, progress)
        return measure(run, wanted, extracted, ready, progress)


def _columns(run: Run) -> Sequence[str]:
    """Of the prompts, beside those that Darkroom reads; of a run without a shard, none."""
    first = next(manifest.committed(run.store), None)
    return () if first is None else extra_columns(manifest.read(run.store, first)).column_names


def extract_for(run: Run, wanted: CheckedEvaluation, engine: Engine, progress: Progress) -> Extracted:
    """Features of the run's images that have none yet, by the extractors of an evaluation."""
    return extract(run, wanted.specs(engine.device), wanted.extractor_ids, engine, progress)


def measure(
    run: Run, wanted: CheckedEvaluation, extracted: Extracted, engine: Engine, progress: Progress
) -> EvaluationResult:
    """Measure cells that have their features, and store the figures."""
    evaluation, key = _evaluated(run, wanted, extracted, engine, progress)
    put_evaluation(run.store, key, evaluation)
    dropped = dropped_cells(run.store)
    verdicts = [
        Verdict(expected, cell_id, figures[expected.figure].value if expected.figure in figures else math.nan)
        for expected in wanted.options.expect
        for cell_id, figures in evaluation.cells.items()
        if cell_id not in dropped
    ]
    return EvaluationResult(run, evaluation, extracted.num_left_out, tuple(verdicts))


def measured_figure(
    run: Run,
    wanted: CheckedEvaluation,
    figure: str,
    cell_ids: Sequence[str],
    extracted: Extracted,
    first_rows: frozenset[int] | None,
    engine: Engine,
    progress: Progress,
) -> dict[str, Figure]:
    """One figure of some cells, from their shards with these first rows; cells without an image get NaN."""
    info, metric = wanted.of_figure(figure)
    spec = wanted.specs(driver_device(engine.options))[wanted.extractors.index(info)]
    measuring = _Measuring(run, wanted, extracted, spec, info, [metric], engine, progress)
    figures: dict[str, Figure] = {}
    for cell_id in cell_ids:
        try:
            figures[cell_id] = measuring.cell(measuring.images(cell_id, first_rows)).figures[figure]
        except DarkroomError as error:
            figures[cell_id] = Figure(math.nan, None, None, 0, None, (str(error),))
    return figures


def _evaluated(
    run: Run, wanted: CheckedEvaluation, extracted: Extracted, engine: Engine, progress: Progress
) -> tuple[Evaluation, str]:
    """The evaluation, and the name that it is stored by."""
    options = wanted.options
    metrics: dict[str, Metric] = {}
    images = _present(run, extracted, progress)
    cells: dict[str, dict[str, Figure]] = {cell_id: {} for cell_id in images}
    distances: dict[str, dict[str, Gap]] = {cell_id: {} for cell_id in cells}
    lost: dict[str, dict[str, Gap]] = {cell_id: {} for cell_id in cells}
    lossless = _lossless(run, cells)
    controls: dict[str, Control] = {}
    groups = Groups(run.store, extracted.shards, options.by or (), progress)
    by: dict[str, dict[str, dict[str, dict[str, Figure]]]] = {column: {} for column in groups.columns}
    for spec, info in zip(wanted.specs(driver_device(engine.options)), wanted.extractors, strict=True):
        measuring = _Measuring(run, wanted, extracted, spec, info, wanted.named.get(info.called), engine, progress)
        measured: dict[str, MeasuredCell] = {}
        for cell_id in cells:
            held = measuring.images(cell_id)
            measured[cell_id] = measuring.cell(held)
            for column, names in groups.of([name for name, _ in held.held.pairs]).items():
                for value, figures in measuring.broken_down(held, names).items():
                    by[column].setdefault(value, {}).setdefault(cell_id, {}).update(figures)
        metrics |= measuring.infos
        if info.called in wanted.named and not extracted.num_left_out:
            _check_had(measured.values(), measuring.infos)
        for cell_id, gap in gaps(measured, measuring.infos, options.seed, measuring.compared).items():
            cells[cell_id] |= told_of_choice(run.info.policy, measuring.infos, measured[cell_id].figures)
            distances[cell_id] |= gap
        for cell_id, gap in costs(measured, lossless, options.seed, measuring.compared).items():
            lost[cell_id] |= gap
        for name, control in measuring.controls(measured).items():
            controls[name] = merged(controls[name], control) if name in controls else control
    for column in [name for name, found in by.items() if not found]:
        progress(Warned(f"by={column}: no metric here is a mean of images' scores, and no other is told by a column"))
    is_asked = options.metrics is None or any(is_rated(each.figure) for each in options.expect)
    if is_asked and (rated := ratings_of(run, options.seed, progress)):
        metrics |= rated.metrics
        for cell_id, gap in rated.gaps(cells).items():
            cells[cell_id] |= rated.figures[cell_id]
            distances[cell_id] |= gap
    named = None if options.metrics is None else list(options.metrics)
    key = digest("evaluation", sorted(wanted.extractor_ids), options.reference, named)
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    return Evaluation(now, metrics, cells, distances, lost, images, stored_options(options), by, controls), key


def told_of_choice(
    policy: Policy | None, metrics: Mapping[str, Metric], figures: Mapping[str, Figure]
) -> dict[str, Figure]:
    """The figures; of a score by which the run's policy chose images, one that says so. An alias or another scale of
    the score hides nothing."""
    chosen = {(each.extractor_id, kind_of(each.name)) for each in policy.choosing} if policy else set()
    return {
        name: replace(figure, warnings=(_OF_CHOSEN, *figure.warnings))
        if (metrics[name].extractor_id, kind_of(name)) in chosen
        else figure
        for name, figure in figures.items()
    }


def _check_had(cells: Collection[MeasuredCell], named: Iterable[str]) -> None:
    """Refuse a figure that is named where no cell has it; one cell of several may be too small for it."""
    for name in named:
        figures = [cell.figures[name] for cell in cells]
        if all(math.isnan(figure.value) for figure in figures):
            raise DarkroomError(figures[0].warnings[0])


def _lossy_settings(run: Run, evaluation: Evaluation) -> dict[str, str]:
    """The settings of cells whose cost was measured, such as "cache_interval=2"."""
    lossy = {cell_id: run.cells[cell_id].cell.lossy for cell_id, gaps in evaluation.costs.items() if gaps}
    return {cell_id: ", ".join(f"{name}={value}" for name, value in some.items()) for cell_id, some in lossy.items()}


def _lossless(run: Run, having: Collection[str]) -> dict[str, str]:
    """Of cells with images: those with lossy settings -> the same without."""
    bases = lossless_of(run.cells).items()
    return {cell_id: base for cell_id, base in bases if base in having and cell_id in having and base is not None}


def _present(run: Run, extracted: Extracted, progress: Progress) -> dict[str, PresentImages]:
    """Of cells that have images, in the run's order; figures of a part of a cell's would look like those of all."""
    having = present_images(run.store, extracted.shards())
    if not having:
        raise DarkroomError(f"{run.store.describe()}: no image is committed; see `{on_run('status', run.store.spec)}`")
    dropped = dropped_cells(run.store) & run.cells.keys()
    going_on = [cell_id for cell_id in run.cells if cell_id not in dropped]
    if dropped:
        progress(Noted(f"{len(dropped)} cells were dropped early, have but a part of their images, and are left out"))
    if num_bare := len(set(going_on) - having.keys()):
        progress(Noted(f"{num_bare} cells have no image and are left out"))
    return {cell_id: having[cell_id] for cell_id in going_on if cell_id in having}


class _Measuring:
    """One extractor's metrics of a run's cells, against as many references as they name: those of the evaluation, or
    `metrics` of them."""

    def __init__(
        self,
        run: Run,
        wanted: CheckedEvaluation,
        extracted: Extracted,
        spec: ExtractorSpec,
        info: ExtractorInfo,
        metrics: Sequence[str] | None,
        engine: Engine,
        progress: Progress,
    ) -> None:
        self._run, self._store, self._options, self._info = run, run.store, wanted.options, info
        self._extracted, self._spec = extracted, spec
        self._engine, self._progress = engine, progress
        self._last: tuple[object, Gathered] | None = None  # of what: most are asked for again at once
        self._chosen = chosen = metrics or wanted.metrics(info)
        needed = {reference_of(name) for name in chosen if definition(name, info).needs_reference}
        load = once(partial(load_extractor, spec))
        self._references = {
            name: measured_reference(reference, load, info, progress)
            for name, reference in wanted.references.items()
            if name in needed
        }
        self._logits = _logits(spec) if "inception_score" in chosen else None
        self._reads_captions = reads_captions(chosen, info)
        options = (self._options.clip_convention, self._options.mind_num_projections)
        self.infos = metric_infos(info, self._references, chosen, *options)

    def images(self, cell_id: str, first_rows: frozenset[int] | None = None) -> Gathered:
        """With `first_rows`, of shards that start at these rows."""
        if self._last is None or self._last[0] != (cell_id, first_rows):
            self._last = None  # let go of before others come
            shards = self._extracted.shards(cell_id, first_rows)
            num_images = self._extracted.num_images(cell_id, first_rows)
            found = gathered_cell(self._run, shards, num_images, self._info, self._engine, self._progress)
            self._last = (cell_id, first_rows), found
        return self._last[1]

    def cell(self, images: Gathered) -> MeasuredCell:
        options = (self._options.clip_convention, self._options.seed, self._logits)
        num_projections = self._options.mind_num_projections
        what = (images, self._info, self._references, self._chosen)
        return measured_cell(*what, *options, num_projections=num_projections)

    def broken_down(self, images: Gathered, names: Mapping[str, str]) -> dict[str, Figures]:
        """By the groups of its prompts."""
        options = (self._chosen, self._options.clip_convention, self._options.seed)
        return broken_down(images, names, self._info, *options)

    def controls(self, measured: Mapping[str, MeasuredCell]) -> dict[str, Control]:
        """Beside these cells, of which there is at least one: those that the extractor's metrics have."""
        found: dict[str, Control] = {}
        convention, seed = self._options.clip_convention, self._options.seed
        num_projections = self._options.mind_num_projections
        counts = (figure.num_images for cell in measured.values() for figure in cell.figures.values())
        most = max(counts, default=0)
        for name, reference in self._references.items():
            options = (self._info, reference, self._chosen, convention, seed, self._logits, name, num_projections)
            found[real_row(name)] = real_control(most, *options)
        if self._reads_captions:
            first = next(iter(measured))
            images, syntax = self.images(first).held, self._run.cells[first].cell.sampling.prompt_syntax
            captions = [read_prompt(prompt, syntax).text for prompt in images.texts]
            words = (captions, self._caption_features)
            found[SHUFFLED] = shuffled_control(
                images, *words, self._info, self._chosen, self._references, convention, seed
            )
        if self._info.scores_fit:
            found[SHUFFLED] = self._rescored(next(iter(measured)))
        return found

    def _rescored(self, cell_id: str) -> Control:
        shards, load = self._extracted.shards(cell_id), partial(load_extractor, self._spec)
        rescore = partial(rescored, self._store, shards, self._info, load, default_cache())
        what = (self.images(cell_id).held, rescore, self._info, self._chosen)
        try:
            return rescored_control(*what, self._options.clip_convention, self._options.seed)
        except DarkroomError as error:
            return Control({}, f"no row: {error}")

    def _caption_features(self, captions: Sequence[str]) -> np.ndarray:
        return cached_captions(captions, self._info, lambda: _read_captions(self._spec, captions), default_cache())

    def compared(self, best: str, cell_id: str, figures: Sequence[str]) -> Mapping[str, Gap]:
        """Over the images that both cells have, by those figures that so many images can be compared by."""
        cells = {key: self.images(key).held for key in (best, cell_id)}
        num_shared = len(set(cells[best].pairs) & set(cells[cell_id].pairs))
        named = (name.partition(".")[2] for name in figures)
        metrics = [name for name in named if not rank_fault(name, num_shared, self._info)]
        if not metrics:
            return {}
        options = (metrics, self._options.clip_convention, self._options.seed)
        num_projections = self._options.mind_num_projections
        what = (cells, best, self._info, self._references)
        return differences(*what, *options, level=None, num_projections=num_projections)[cell_id]


def measured_reference(
    reference: Reference, load: Callable[[], Extractor], info: ExtractorInfo, progress: Progress
) -> ReferenceFeatures:
    """Features of a reference's images, most often from the user's cache."""
    return reference_features(reference, info, load, default_cache(), lambda line: progress(ReferenceRead(line)))


def _read_captions(spec: ExtractorSpec, captions: Sequence[str]) -> np.ndarray:
    extractor = load_extractor(spec)
    assert isinstance(extractor, CaptionExtractor)  # since its metrics ask for captions
    return extractor.caption_features(captions)


def _logits(spec: ExtractorSpec) -> Logits | None:
    extractor = load_extractor(spec)
    return extractor.logits if isinstance(extractor, InceptionExtractor) else None
