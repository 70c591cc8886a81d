"""From features to figures: every cell of a run measured, stored beside it and shown."""

import math
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from omegaconf import DictConfig

from darkroom.conf.schema import EvaluateMode
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.features.extractor import ExtractorInfo, ExtractorPin, ExtractorSpec
from darkroom.features.inception_extractor import InceptionExtractor
from darkroom.features.opening import inspect_extractor, load_extractor, pin_extractor
from darkroom.features.reference import Reference, ReferenceFeatures, ReferenceSpec, Statistics
from darkroom.features.reference_measuring import default_cache, reference_features
from darkroom.features.reference_opening import open_reference
from darkroom.jobs.exits import ExitCode, most_urgent
from darkroom.jobs.extractors import extractor_specs
from darkroom.jobs.runs import OpenedRun
from darkroom.jobs.scoring import Scored
from darkroom.metrics.catalogue import CATALOGUE, convention, default_metrics, metrics_by_extractor
from darkroom.metrics.figure_tables import costs_table, figures_table
from darkroom.metrics.figures import Evaluation, Figure, Figures, Gap, Metric, put_evaluation
from darkroom.metrics.gaps import costs, differences, gaps
from darkroom.metrics.gathering import Gathered, gathered
from darkroom.metrics.inputs import Logits
from darkroom.metrics.measuring import MeasuredCell, figure_name, measured_cell, metric_infos
from darkroom.runs.cells import dropped_cells, lossless_of
from darkroom.runs.commands import on_run
from darkroom.runs.features import paired_features
from darkroom.runs.reading import PresentImages, present_images


@dataclass(frozen=True)
class WantedEvaluation:
    """A checked request: extractors that are there, a reference that is there."""

    config: DictConfig
    extractors: tuple[ExtractorInfo, ...]
    reference: Reference | None
    named: Mapping[str, Sequence[str]]  # extractor's name -> metrics; empty where the command names none
    pins: tuple[ExtractorPin, ...]  # of each extractor

    @property
    def figures(self) -> list[str]:
        """Names of those that there will be."""
        return [figure_name(info, metric) for info in self.extractors for metric in self.metrics(info)]

    def metrics(self, info: ExtractorInfo) -> Sequence[str]:
        """Of one extractor."""
        return self.named.get(info.name) or default_metrics(info, has_reference=self.reference is not None)

    @property
    def extractor_ids(self) -> list[str]:
        return [info.extractor_id for info in self.extractors]

    def specs(self, device: str) -> tuple[ExtractorSpec, ...]:
        specs = extractor_specs(self.config.extractors, device)
        return tuple(replace(spec, pin=pin) for spec, pin in zip(specs, self.pins, strict=True))


def wanted_evaluation(config: DictConfig) -> WantedEvaluation:
    """Check the keys of an evaluation before anything is rendered or scored."""
    convention("clip_score", config.clip_convention)
    specs = extractor_specs(config.extractors, "cpu")
    infos = tuple(map(inspect_extractor, specs))
    again = [name for name, count in Counter(info.name for info in infos).items() if count > 1]
    if again:
        raise DarkroomError(f"extractors: {again[0]} is there twice, and figures are called by it; evaluate one by one")
    named = {} if config.metrics is None else metrics_by_extractor(list(config.metrics), infos)
    wanted = WantedEvaluation(config, infos, _opened_reference(config), named, tuple(map(pin_extractor, specs, infos)))
    _check_reference(wanted)
    for expected in config.expect:
        if expected.figure not in wanted.figures:
            known = ", ".join(wanted.figures)
            raise DarkroomError(f"expect: no figure {expected.figure!r} will be there; those are {known}")
    return wanted


def _check_reference(wanted: WantedEvaluation) -> None:
    """Refuse metrics that are named and could not be computed, before hours of work."""
    for extractor, metrics in wanted.named.items():
        for metric in metrics:
            reference, definition = wanted.reference, CATALOGUE[metric]
            if reference is None and definition.needs_reference:
                raise DarkroomError(f"metrics: {extractor}.{metric} needs a reference; give one as reference=...")
            if reference and definition.needs_reference_features and isinstance(reference.source, Statistics):
                raise DarkroomError(
                    f"reference={reference.name} holds statistics alone, and {extractor}.{metric} needs its images; "
                    "give those, or leave the metric out"
                )


def wanted_inline(config: DictConfig) -> WantedEvaluation | None:
    """What `evaluate=inline` of a rendering job asks for; None where it is not said."""
    return wanted_evaluation(config.evaluation) if config.evaluate is EvaluateMode.inline else None


def evaluate(found: OpenedRun, wanted: WantedEvaluation, scored: Scored, device: str) -> ExitCode:
    """Measure cells that are scored, store the figures, show them; the exit code, not 0 where an image is left out."""
    evaluation, key = _evaluated(found, wanted, scored, device)
    put_evaluation(found.store, key, evaluation)
    settings = {cell_id: info.settings_in(found.info) for cell_id, info in found.cells.items()}
    print(figures_table(evaluation.metrics, evaluation.cells, settings, evaluation.gaps))
    if len({settings[cell_id]["sampling.seed"] for cell_id in evaluation.cells}) > 1:
        print("note: images of cells with different seeds share their prompt and not their noise")
    if any(evaluation.costs.values()):
        print(f"\n{costs_table(evaluation.metrics, _for_speed(found, evaluation), evaluation.costs)}")
    left_out = ExitCode.CHECK_FAILED if scored.num_left_out else ExitCode.OK
    return most_urgent(_judged(wanted.config, evaluation, dropped_cells(found.store)), left_out)


def measured_figure(
    found: OpenedRun,
    wanted: WantedEvaluation,
    figure: str,
    cell_ids: Sequence[str],
    scored: Scored,
    starts: frozenset[int] | None,
    device: str,
) -> dict[str, Figure]:
    """One figure of some cells, from their scored shards that start at `starts`; cells without an image get NaN."""
    extractor, metric = figure.split(".")
    spec, info = next(
        pair for pair in zip(wanted.specs(device), wanted.extractors, strict=True) if pair[1].name == extractor
    )
    measuring = _Measuring(found, wanted, scored, spec, info, [metric])
    figures: dict[str, Figure] = {}
    for cell_id in cell_ids:
        try:
            figures[cell_id] = measuring.cell(measuring.images(cell_id, starts)).figures[figure]
        except DarkroomError as error:
            figures[cell_id] = Figure(math.nan, None, None, 0, None, (str(error),))
    return figures


def _opened_reference(config: DictConfig) -> Reference | None:
    if config.reference is None:
        return None
    reference = open_reference(ReferenceSpec(config.reference, config.reference_endpoint_url))
    for sentence in reference.left_out:
        print(f"warning: reference {reference.name}: {sentence}", file=sys.stderr, flush=True)
    return reference


def _evaluated(found: OpenedRun, wanted: WantedEvaluation, scored: Scored, device: str) -> tuple[Evaluation, str]:
    """The evaluation, and the name that it is stored by."""
    config = wanted.config
    metrics: dict[str, Metric] = {}
    images = _present(found, scored)
    cells: dict[str, dict[str, Figure]] = {cell_id: {} for cell_id in images}
    distances: dict[str, dict[str, Gap]] = {cell_id: {} for cell_id in cells}
    lost: dict[str, dict[str, Gap]] = {cell_id: {} for cell_id in cells}
    lossless = _lossless(found, cells)
    for spec, info in zip(wanted.specs(device), wanted.extractors, strict=True):
        measuring = _Measuring(found, wanted, scored, spec, info, wanted.named.get(info.name))
        measured = {cell_id: measuring.cell(measuring.images(cell_id)) for cell_id in cells}
        metrics |= measuring.infos
        if info.name in wanted.named and not scored.num_left_out:
            _check_had(measured.values(), measuring.infos)
        for cell_id, gap in gaps(measured, measuring.infos, config.seed, measuring.pairs).items():
            cells[cell_id] |= measured[cell_id].figures
            distances[cell_id] |= gap
        for cell_id, gap in costs(measured, lossless, config.seed, measuring.pairs).items():
            lost[cell_id] |= gap
    named = None if config.metrics is None else list(config.metrics)
    key = digest("evaluation", sorted(wanted.extractor_ids), config.reference, named)
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    return Evaluation(now, metrics, cells, distances, lost, images), key


def _check_had(cells: Collection[MeasuredCell], named: Iterable[str]) -> None:
    """Refuse a figure that the command names where no cell has it; one cell of several may be too small for it."""
    for name in named:
        figures = [cell.figures[name] for cell in cells]
        if all(math.isnan(figure.value) for figure in figures):
            raise DarkroomError(figures[0].warnings[0])


def _for_speed(found: OpenedRun, evaluation: Evaluation) -> dict[str, str]:
    """The settings of cells whose cost was measured, such as "cache_interval=2"."""
    lossy = {cell_id: found.cells[cell_id].cell.lossy for cell_id, gaps in evaluation.costs.items() if gaps}
    return {cell_id: ", ".join(f"{name}={value}" for name, value in some.items()) for cell_id, some in lossy.items()}


def _lossless(found: OpenedRun, having: Collection[str]) -> dict[str, str]:
    """Of cells with images: those that trade quality for speed -> the same without."""
    bases = lossless_of(found.cells).items()
    return {cell_id: base for cell_id, base in bases if base in having and cell_id in having and base is not None}


class _Measuring:
    """One extractor's metrics of a run's cells; `metrics` as `measured_cell` takes them."""

    def __init__(
        self,
        found: OpenedRun,
        wanted: WantedEvaluation,
        scored: Scored,
        spec: ExtractorSpec,
        info: ExtractorInfo,
        metrics: Sequence[str] | None,
    ) -> None:
        self._store, self._config, self._info, self._metrics = found.store, wanted.config, info, metrics
        self._scored = scored
        chosen = metrics or wanted.metrics(info)
        needs_reference = any(CATALOGUE[name].needs_reference for name in chosen)
        self._reference = _measured(wanted.reference, spec, info) if wanted.reference and needs_reference else None
        self._logits = _logits(spec) if "inception_score" in chosen else None
        self.infos = metric_infos(info, self._reference, metrics, self._config.clip_convention)

    def images(self, cell_id: str, starts: frozenset[int] | None = None) -> Gathered:
        names = self._scored.of_cell(cell_id, starts)
        return gathered(paired_features(self._store, names, self._info.extractor_id, self._info.dimension))

    def cell(self, images: Gathered) -> MeasuredCell:
        config = self._config
        options = (config.clip_convention, config.seed, self._logits)
        return measured_cell(images, self._info, self._reference, self._metrics, *options)

    def pairs(self, best: str, cell_id: str, figures: Sequence[str]) -> Mapping[str, Gap]:
        """Over the images that both cells have."""
        cells = {key: self.images(key).held for key in (best, cell_id)}
        metrics = [name.partition(".")[2] for name in figures]
        config = self._config
        options = (metrics, config.clip_convention, config.seed)
        return differences(cells, best, self._info, self._reference, *options)[cell_id]


def _present(found: OpenedRun, scored: Scored) -> dict[str, PresentImages]:
    """Of cells that have images, in the run's order."""
    having = present_images(found.store, scored.names)
    if not having:
        raise DarkroomError(
            f"{found.store.describe()}: no image is committed; see `{on_run('status', found.store.spec)}`"
        )
    if len(having) < len(found.cells):
        print(f"{len(found.cells) - len(having)} cells have no image and are left out")
    return {cell_id: having[cell_id] for cell_id in found.cells if cell_id in having}


def _measured(reference: Reference, spec: ExtractorSpec, info: ExtractorInfo) -> ReferenceFeatures:
    say = lambda line: print(line, flush=True)  # noqa: E731
    return reference_features(reference, info, lambda: load_extractor(spec), default_cache(), say)


def _logits(spec: ExtractorSpec) -> Logits | None:
    extractor = load_extractor(spec)
    return extractor.logits if isinstance(extractor, InceptionExtractor) else None


def _judged(config: DictConfig, evaluation: Evaluation, dropped: Collection[str]) -> ExitCode:
    """Exit code 1 where a figure lies outside of what `expect` says it must lie in; of cells that were not dropped."""
    verdicts = [
        _verdict(expected, cell_id, figures)
        for expected in config.expect
        for cell_id, figures in evaluation.cells.items()
        if cell_id not in dropped
    ]
    return ExitCode.OK if all(verdicts) else ExitCode.CHECK_FAILED


def _verdict(expected: DictConfig, cell_id: str, figures: Figures) -> bool:
    value = figures[expected.figure].value
    is_inside = expected.lowest <= value <= expected.highest
    print(
        f"{'pass' if is_inside else 'FAIL'}: {expected.figure} is {value:.8g} in cell {cell_id}, "
        f"expected {expected.lowest:.10g} to {expected.highest:.10g}"
    )
    return is_inside
