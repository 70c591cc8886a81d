"""From features to figures: every cell of a run measured, stored beside it and shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from omegaconf import DictConfig

from conf.schema import Device, EvaluateMode
from jobs.engine import local_device
from jobs.extractors import extractor_specs
from jobs.runs import OpenedRun
from pipeline.domain.errors import DarkroomError
from pipeline.domain.identity import digest
from pipeline.evaluation.catalogue import checked_metrics, convention, default_metrics
from pipeline.evaluation.figures import figure_name, figures_of, metric_infos
from pipeline.evaluation.sides import Logits
from pipeline.evaluation.table import figures_table
from pipeline.features.extractor import ExtractorInfo
from pipeline.features.inception_extractor import InceptionExtractor
from pipeline.features.opening import inspect_extractor, load_extractor
from pipeline.features.spec import ExtractorSpec
from pipeline.references.kept import default_cache
from pipeline.references.measuring import reference_features
from pipeline.references.opening import open_reference
from pipeline.references.reference import Reference, ReferenceFeatures, ReferenceSpec
from pipeline.runs.evaluations import CellFigure, CellFigures, Evaluation, MetricInfo, put_evaluation
from pipeline.runs.reading import states
from pipeline.runs.records import OK
from pipeline.runs.scored import scored_cell


@dataclass(frozen=True)
class WantedEvaluation:
    """A checked request: extractors that are there, a reference that is there."""

    config: DictConfig
    extractors: tuple[ExtractorInfo, ...]
    reference: Reference | None

    @property
    def figures(self) -> list[str]:
        """Names of those that there will be."""
        return [
            figure_name(info, metric)
            for info in self.extractors
            for metric in _metrics(self.config, info, self.reference)
        ]

    @property
    def extractor_ids(self) -> list[str]:
        return [info.extractor_id for info in self.extractors]

    def specs(self, device: str) -> tuple[ExtractorSpec, ...]:
        return extractor_specs(self.config.extractors, device)


def wanted_evaluation(config: DictConfig) -> WantedEvaluation:
    """Check the keys of an evaluation before anything is rendered or scored."""
    convention("clip_score", config.clip_convention)
    infos = tuple(inspect_extractor(spec) for spec in extractor_specs(config.extractors, "cpu"))
    wanted = WantedEvaluation(config, infos, _opened_reference(config))
    for expected in config.expect:
        if expected.figure not in wanted.figures:
            known = ", ".join(wanted.figures)
            raise DarkroomError(f"expect: no figure {expected.figure!r} will be there; those are {known}")
    return wanted


def _metrics(config: DictConfig, info: ExtractorInfo, reference: Reference | None) -> list[str]:
    if config.metrics is None:
        return default_metrics(info.name, has_reference=reference is not None)
    return checked_metrics(list(config.metrics), info.name)


def wanted_inline(config: DictConfig) -> WantedEvaluation | None:
    """What `evaluate=inline` of a rendering job asks for; None where it is not said."""
    return wanted_evaluation(config.evaluation) if config.evaluate is EvaluateMode.inline else None


def evaluate(found: OpenedRun, wanted: WantedEvaluation, device: Device) -> int:
    """Measure cells that are scored, store the figures, show them; the exit code."""
    evaluation, key = _evaluated(found, wanted, local_device(device))
    put_evaluation(found.store, key, evaluation)
    settings = {cell_id: info.settings for cell_id, info in found.cells.items()}
    print(figures_table(evaluation.metrics, evaluation.cells, settings))
    return _judged(wanted.config, evaluation)


def measured_figure(
    found: OpenedRun,
    wanted: WantedEvaluation,
    figure: str,
    cell_ids: Sequence[str],
    starts: frozenset[int] | None,
    device: str,
) -> dict[str, CellFigure]:
    """One figure of some cells, from their scored shards that start at `starts`; cells without an image get NaN."""
    extractor, metric = figure.split(".")
    spec, info = next(
        pair for pair in zip(wanted.specs(device), wanted.extractors, strict=True) if pair[1].name == extractor
    )
    compared = _measured(wanted.reference, spec, info) if wanted.reference else None
    options = ([metric], wanted.config.clip_convention, wanted.config.seed)
    figures: dict[str, CellFigure] = {}
    for cell_id in cell_ids:
        try:
            images = scored_cell(found.store, cell_id, info.extractor_id, starts).images
            figures |= {cell_id: figures_of(images, info, compared, *options)[figure]}
        except DarkroomError as error:
            figures[cell_id] = CellFigure(math.nan, None, None, 0, None, (str(error),))
    return figures


def _opened_reference(config: DictConfig) -> Reference | None:
    if config.reference is None:
        return None
    return open_reference(ReferenceSpec(config.reference, config.reference_endpoint_url))


def _evaluated(found: OpenedRun, wanted: WantedEvaluation, device: str) -> tuple[Evaluation, str]:
    """The evaluation, and the name that it is stored by."""
    config, reference = wanted.config, wanted.reference
    metrics: dict[str, MetricInfo] = {}
    cells: dict[str, dict[str, CellFigure]] = {cell_id: {} for cell_id in _cells_with_images(found)}
    named = None if config.metrics is None else list(config.metrics)
    for spec, info in zip(wanted.specs(device), wanted.extractors, strict=True):
        compared = _measured(reference, spec, info) if reference else None
        metrics |= metric_infos(info, compared, named, config.clip_convention)
        logits = _logits(spec) if named and "inception_score" in named else None
        for cell_id, figures in cells.items():
            images = scored_cell(found.store, cell_id, info.extractor_id).images
            figures |= figures_of(images, info, compared, named, config.clip_convention, config.seed, logits)
    key = digest("evaluation", sorted(wanted.extractor_ids), config.reference, named)
    return Evaluation(datetime.now(UTC).isoformat(timespec="seconds"), metrics, cells), key


def _cells_with_images(found: OpenedRun) -> list[str]:
    having = [cell for cell, state in states(found.store, found.info, found.cells).items() if state.by_status[OK]]
    if not having:
        raise DarkroomError(f"{found.store.describe()}: no image is committed; see `darkroom status`")
    if len(having) < len(found.cells):
        print(f"{len(found.cells) - len(having)} cells have no image and are left out")
    return having


def _measured(reference: Reference, spec: ExtractorSpec, info: ExtractorInfo) -> ReferenceFeatures:
    say = lambda line: print(line, flush=True)  # noqa: E731
    return reference_features(reference, info, lambda: load_extractor(spec), default_cache(), say)


def _logits(spec: ExtractorSpec) -> Logits | None:
    extractor = load_extractor(spec)
    return extractor.logits if isinstance(extractor, InceptionExtractor) else None


def _judged(config: DictConfig, evaluation: Evaluation) -> int:
    """Exit code 1 where a figure lies outside of what `expect` says it must lie in."""
    verdicts = [
        _verdict(expected, cell_id, figures)
        for expected in config.expect
        for cell_id, figures in evaluation.cells.items()
    ]
    return 0 if all(verdicts) else 1


def _verdict(expected: DictConfig, cell_id: str, figures: CellFigures) -> bool:
    value = figures[expected.figure].value
    is_inside = expected.lowest <= value <= expected.highest
    print(
        f"{'pass' if is_inside else 'FAIL'}: {expected.figure} is {value:.8g} in cell {cell_id}, "
        f"expected {expected.lowest:.10g} to {expected.highest:.10g}"
    )
    return is_inside
