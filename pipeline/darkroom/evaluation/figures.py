"""Figures of a run's cells and gaps between cells, from metric to page: the types, and their JSON beside the run.

A figure stands under its metric's name, such as demo_clip.clip_score: extractor and metric; where references have
names, with that of the one it is against, such as demo_clip.kid@photos.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from darkroom.domain.errors import DarkroomError, type_and_line
from darkroom.runs.files import EVALUATIONS_PREFIX, evaluation_key, from_json
from darkroom.runs.reading import PresentImages
from darkroom.storage.store import Store

T = TypeVar("T")
AGAINST = "@"  # what stands before the name of a reference
RATERS = "raters"  # what figures of people's votes are called by, in the place of an extractor
ABOUT_INTERVALS = (
    "Intervals, of 95 %, cover the figure of other prompts like these and other images of them, as many as here; the "
    "reference is taken as fixed. Those of distances that are little more than chance are wider than need be."
)
ABOUT_GAPS = "Those of differences from the best cell hold for all cells of a column at once."
ABOUT_COMPARISON = "Those of differences hold for all metrics of a comparison at once."


def kind_of(name: str) -> str:
    """Of a metric's name, with its extractor or without: which metric it is, such as kid."""
    return name.rpartition(".")[2].partition(AGAINST)[0]


def reference_of(name: str) -> str:
    """Of a metric's name: which reference it is against; empty for one without a name, and for none."""
    return name.rpartition(".")[2].partition(AGAINST)[2]


@dataclass(frozen=True)
class Metric:
    """How a figure is defined."""

    name: str  # such as demo_clip.clip_score, or demo_clip.kid@photos
    title: str  # for people
    higher_is_better: bool
    convention: str  # formula, scale and source
    interval: str  # what low and high are
    extractor: str  # network that made the features
    extractor_id: str
    weights: str  # their digest
    resize: str
    reference: str  # images that it compares with, for people; empty without
    reference_digest: str  # of their features; empty without
    column: int | None = None  # of a scorer's features, that it is the mean of; None: of no scorer, or not stored

    @property
    def compared_with(self) -> str:
        """The reference, with its name where it has one; empty without."""
        named = reference_of(self.name)
        return f"{named}: {self.reference}" if named else self.reference


@dataclass(frozen=True)
class Figure:
    """One metric of one cell. A value of NaN could not be computed; `warnings` say why."""

    value: float
    low: float | None  # ends of the 95 % interval; None where there is none
    high: float | None
    num_images: int  # that it is computed from
    num_reference: int | None = None  # None without a reference, and where its number is not known
    warnings: tuple[str, ...] = ()
    is_ranked: bool = True  # False: of too few images to be compared with other cells' by


@dataclass(frozen=True)
class Gap:
    """One metric of a cell against that of another one, both over the images that share prompt and sample.

    The interval holds for all of the gaps that were looked at together, see `evaluation.gaps`.
    """

    base: str  # cell_id of the other one
    difference: float  # this cell's less the other one's
    low: float  # ends of the difference's 95 % interval
    high: float
    num_pairs: int  # images of each that it is computed from
    value: float | None = None  # this cell's figure over the pairs; None in evaluations that did not store it
    base_value: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def is_told_apart(self) -> bool:
        """The interval leaves out 0."""
        return not self.low <= 0 <= self.high

    def is_worse(self, higher_is_better: bool) -> bool:
        """The interval lies on the worse side of 0.

        Of unequal images a cell whose own figure is worse may be better over those that both cells have.
        """
        return self.high < 0 if higher_is_better else self.low > 0


Figures = Mapping[str, Figure]  # by Metric.name


@dataclass(frozen=True)
class Control:
    """Figures of images that are known to be good, or known not to be: floors and ceilings, which rank nothing."""

    figures: Figures
    note: str  # what was measured, or why nothing was


Gaps = Mapping[str, Mapping[str, Gap]]  # by cell_id and Metric.name
Controls = Mapping[str, Control]  # by the name of their row, such as "real"
ByValue = Mapping[str, Mapping[str, Figures]]  # by a column's value and cell_id


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a run."""

    created_at: str  # ISO 8601, UTC
    metrics: Mapping[str, Metric]
    cells: Mapping[str, Figures]  # by cell_id
    gaps: Gaps = field(default_factory=dict)  # from each metric's best cell
    costs: Gaps = field(default_factory=dict)  # of cells with lossy settings, from the same without
    images: Mapping[str, PresentImages] = field(default_factory=dict)  # by cell_id: what was there to be measured
    options: Mapping[str, object] = field(default_factory=dict)  # of the command, by their names; empty: not known
    by: Mapping[str, ByValue] = field(default_factory=dict)  # by column of the prompts
    controls: Controls = field(default_factory=dict)


def put_evaluation(store: Store, evaluation_id: str, evaluation: Evaluation) -> None:
    """Write it, over an older one of the same extractors and reference."""
    text = json.dumps(_nullified(asdict(evaluation)), indent=1, ensure_ascii=False, allow_nan=False)
    store.put(evaluation_key(evaluation_id), text.encode(), "application/json")


def read_evaluations(store: Store) -> list[Evaluation]:
    """All of a run's, oldest first. Raises DarkroomError for a file that is none."""
    found = [_read(store, info.key) for info in store.list(EVALUATIONS_PREFIX)]
    return sorted(found, key=lambda evaluation: evaluation.created_at)


def _read(store: Store, key: str) -> Evaluation:
    data = store.get(key)
    try:
        return _parse(json.loads(data))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DarkroomError(
            f"{store.describe(key)}: not readable as an evaluation ({type_and_line(error)}); remove it, and "
            "evaluate again where its figures are wanted"
        ) from error


def _parse(value: dict[str, Any]) -> Evaluation:
    metrics = {name: from_json(Metric, metric) for name, metric in value["metrics"].items()}
    cells = _by_cell(value["cells"])
    by = {
        column: {group: _by_cell(found) for group, found in groups.items()}
        for column, groups in value.get("by", {}).items()
    }
    images = {cell_id: from_json(PresentImages, found) for cell_id, found in value.get("images", {}).items()}
    created_at, options = _checked(value["created_at"], str), _checked(value.get("options", {}), dict)
    controls = {
        name: Control(_figures(control["figures"]), _checked(control["note"], str))
        for name, control in value.get("controls", {}).items()
    }
    gaps, costs = _gaps(value, "gaps"), _gaps(value, "costs")
    return Evaluation(created_at, metrics, cells, gaps, costs, images, options, by, controls)


def _by_cell(value: dict[str, Any]) -> dict[str, Figures]:
    return {cell_id: _figures(figures) for cell_id, figures in value.items()}


def _figures(value: dict[str, Any]) -> Figures:
    return {name: _figure(figure) for name, figure in value.items()}


def _figure(value: dict[str, Any]) -> Figure:
    number = math.nan if value["value"] is None else value["value"]
    return from_json(Figure, {**value, "value": number, "warnings": _lines(value["warnings"])})


def _gaps(value: dict[str, Any], name: str) -> Gaps:
    return {
        cell_id: {metric: _gap(gap) for metric, gap in found.items()} for cell_id, found in value.get(name, {}).items()
    }


def _gap(value: dict[str, Any]) -> Gap:
    return from_json(Gap, {**value, "warnings": _lines(value.get("warnings", []))})


def _lines(value: Any) -> tuple[str, ...]:
    return tuple(_checked(line, str) for line in _checked(value, list))


def _checked(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}"[:80])
    return value


def _nullified(value: object) -> object:
    """JSON has no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _nullified(item) for name, item in value.items()}
    return [_nullified(item) for item in value] if isinstance(value, (list, tuple)) else value
