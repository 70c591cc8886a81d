"""From features to figures: every cell of a run measured, stored beside it and shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from omegaconf import DictConfig, OmegaConf

from conf.schema import Device, EvaluateMode
from jobs.engine import local_device
from jobs.extractors import extractor_specs
from jobs.runs import OpenedRun
from pipeline.domain.errors import DarkroomError
from pipeline.domain.identity import digest
from pipeline.evaluation.catalogue import convention
from pipeline.evaluation.figures import figures_of, metric_infos
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
from pipeline.runs.evaluations import CellFigure, Evaluation, MetricInfo, put_evaluation
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
    def extractor_ids(self) -> list[str]:
        return [info.extractor_id for info in self.extractors]

    def specs(self, device: str) -> tuple[ExtractorSpec, ...]:
        return extractor_specs(self.config.extractors, device)


def wanted_evaluation(config: DictConfig) -> WantedEvaluation:
    """Check the keys of an evaluation before anything is rendered or scored."""
    convention("clip_score", config.clip_convention)
    for name, pair in config.expect.items():
        _bounds(str(name), pair)
    infos = tuple(inspect_extractor(spec) for spec in extractor_specs(config.extractors, "cpu"))
    return WantedEvaluation(config, infos, _opened_reference(config))


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
    bounds = {str(name): _bounds(str(name), pair) for name, pair in config.expect.items()}
    missed = 0
    for name, (low, high) in bounds.items():
        for cell_id, figures in evaluation.cells.items():
            if name not in figures:
                raise DarkroomError(f"expect.{name}: no such figure; there are {', '.join(figures)}")
            inside = low <= figures[name].value <= high
            missed += not inside
            said = "pass" if inside else "FAIL"
            print(f"{said}: {name} {figures[name].value:.8g} of cell {cell_id}, expected {low:.10g} to {high:.10g}")
    return 1 if missed else 0


def _bounds(name: str, pair: object) -> tuple[float, float]:
    values: Sequence = OmegaConf.to_container(pair) if OmegaConf.is_list(pair) else ()  # type: ignore[assignment]
    if len(values) != 2 or not all(isinstance(value, (int, float)) for value in values):
        raise DarkroomError(f"expect.{name}={pair}: give the lowest and the highest value, such as [22.5,23.9]")
    return float(values[0]), float(values[1])
