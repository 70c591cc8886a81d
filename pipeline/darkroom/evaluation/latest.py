"""A run's evaluations as one set of metrics and figures: the latest of each metric stands."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from darkroom.evaluation.catalogue import CATALOGUE
from darkroom.evaluation.figures import RATERS, ByValue, Control, Controls, Evaluation, Figure, Gap, Metric, kind_of
from darkroom.evaluation.reference_free import CLIP_CONVENTIONS, ClipConvention
from darkroom.runs.features import ImageFeatures
from darkroom.runs.reading import PresentImages

_CLIP_SCORE = "clip_score"
# Ends of metric names, in the order to show them; others come after, and last those that rank no cell.
_FIRST = (
    "win_rate",
    "bradley_terry",
    "fid",
    "frechet",
    _CLIP_SCORE,
    "kid",
    "cmmd",
    "mind",
    "vendi",
    "precision",
    "recall",
    "density",
    "coverage",
)


class Question(Enum):
    """What a metric answers, in the order of what people ask first."""

    PEOPLE = "what people choose"
    REFERENCE = "closeness to the reference"
    PROMPTS = "agreement with the prompts"
    PICTURES = "single images' own score"
    VARIETY = "variety"


def question(metric: Metric) -> Question | None:
    """None of those that no choice should hang on by themselves, such as precision, and of unknown ones."""
    if metric.extractor == RATERS:
        return Question.PEOPLE
    if metric.column is not None:  # of a scorer, whose scores have names of their own
        return Question.PICTURES
    definition = CATALOGUE.get(kind_of(metric.name))
    if definition is None or (definition.needs_reference and definition.higher_is_better):
        return None
    if definition.needs_captions:
        return Question.PROMPTS
    if definition.of_scores:
        return Question.PICTURES
    return Question.REFERENCE if definition.needs_reference else Question.VARIETY


@dataclass(frozen=True)
class ImageScores:
    """How single images are scored by a metric that is the mean of their scores."""

    metric: Metric  # a CLIP score's, or a scorer's

    def of(self, images: ImageFeatures) -> np.ndarray:
        """(n,) float64 scores, NaN where there is none, from what is stored of n images by `metric.extractor_id`."""
        if self.metric.column is not None:
            return images.features[:, self.metric.column].astype(np.float64)
        return _clip_convention(self.metric).of_images(images.cosines.astype(np.float64))

    @property
    def words(self) -> str:
        """What an image's score is."""
        if self.metric.column is not None:
            return f"{self.metric.name.rpartition('.')[2]} of {self.metric.extractor}"
        return f"{_clip_convention(self.metric).image_words} the cosine of its features and its prompt's"


@dataclass(frozen=True)
class LatestFigure:
    """A metric of a cell as its latest evaluation has it."""

    figure: Figure
    gap: Gap | None  # from the metric's best cell
    cost: Gap | None  # from the same cell without its lossy settings
    images: PresentImages | None  # that were measured


@dataclass(frozen=True)
class RunFigures:
    """What evaluations found out about the cells that there are."""

    metrics: Mapping[str, Metric]  # by name, in the order to show them
    cells: Mapping[str, Mapping[str, LatestFigure]]  # by cell_id and Metric.name
    notes: tuple[str, ...] = ()
    present: Mapping[str, PresentImages] = field(default_factory=dict)  # by cell_id: those that are there now
    controls: Controls = field(default_factory=dict)
    by: Mapping[str, ByValue] = field(default_factory=dict)  # by column of the prompts

    @property
    def image_scores(self) -> ImageScores | None:
        """Those of the first CLIP score, or else of the first scorer; None without either."""
        return next(iter(self.all_image_scores.values()), None)

    @property
    def all_image_scores(self) -> dict[str, ImageScores]:
        """Of all metrics that are means over images, by Metric.name: CLIP scores first, then those of scorers."""
        own = {name: metric for name, metric in self.metrics.items() if kind_of(name) == _CLIP_SCORE}
        own |= {name: metric for name, metric in self.metrics.items() if metric.column is not None}
        return {name: ImageScores(metric) for name, metric in own.items()}

    def outdated(self, cell_id: str) -> frozenset[str]:
        """Names of metrics whose figure is of other images than the cell has now."""
        return frozenset(name for name in self.cells.get(cell_id, {}) if self._age(cell_id, name))

    def figures(self, cell_id: str) -> dict[str, Figure]:
        """By Metric.name; one that is older than the cell's images says so first among its warnings."""
        found = {}
        for name, latest in self.cells.get(cell_id, {}).items():
            age = self._age(cell_id, name)
            warnings = (*([age] if age else ()), *latest.figure.warnings)
            found[name] = replace(latest.figure, warnings=warnings)
        return found

    def gaps(self, cell_id: str) -> dict[str, Gap]:
        return {name: latest.gap for name, latest in self.cells.get(cell_id, {}).items() if latest.gap}

    def costs(self, cell_id: str) -> dict[str, Gap]:
        return {name: latest.cost for name, latest in self.cells.get(cell_id, {}).items() if latest.cost}

    def _age(self, cell_id: str, name: str) -> str:
        """How a figure is older than its cell's images; empty where it is not, or where nothing is known of these."""
        if cell_id not in self.present:
            return ""
        then, now = self.cells[cell_id][name].images, self.present[cell_id]
        if then is None:
            return "its evaluation did not note which images it is of; evaluate again"
        if then == now:
            return ""
        what = f"there were {then.count:,}" if then.count != now.count else "some of them were made again since"
        return f"older than the cell's {now.count:,} images: {what}; evaluate again"


def latest_figures(evaluations: Sequence[Evaluation], cell_ids: Collection[str]) -> RunFigures:
    """Oldest first. Figures of one metric that are defined otherwise than its latest are not comparable: left out."""
    metrics = {name: metric for evaluation in evaluations for name, metric in evaluation.metrics.items()}
    cells: dict[str, dict[str, LatestFigure]] = {cell_id: {} for cell_id in cell_ids}
    redefined: set[str] = set()
    for evaluation in evaluations:
        for cell_id in cells.keys() & evaluation.cells.keys():
            for name, figure in evaluation.cells[cell_id].items():
                if evaluation.metrics.get(name) == metrics.get(name):
                    cells[cell_id][name] = _latest(evaluation, cell_id, name, figure, cells[cell_id].get(name))
                else:
                    redefined.add(name)
    ranking = {name for found in cells.values() for name, latest in found.items() if latest.figure.is_ranked}
    in_order = sorted(metrics, key=lambda name: (name not in ranking, _place(name)))
    shown = [name for name in in_order if any(name in found for found in cells.values())]
    notes = [
        f"{metrics[name].title}: figures of earlier evaluations with another definition or reference are left out."
        for name in sorted(redefined.intersection(shown))
    ]
    controls = _latest_controls(evaluations, {name: metrics[name] for name in shown})
    by = _latest_by(evaluations, metrics, cells)
    return RunFigures({name: metrics[name] for name in shown}, cells, tuple(notes), controls=controls, by=by)


def _latest_controls(evaluations: Sequence[Evaluation], metrics: Mapping[str, Metric]) -> Controls:
    """Of each row the latest figure of each metric that is shown, and the latest note."""
    found: dict[str, Control] = {}
    for evaluation in evaluations:
        for row, control in evaluation.controls.items():
            figures = {name: f for name, f in control.figures.items() if metrics.get(name) == evaluation.metrics[name]}
            known = found[row].figures if row in found else {}
            found[row] = Control({**known, **figures}, control.note)
    return found


def _latest_by(
    evaluations: Sequence[Evaluation],
    metrics: Mapping[str, Metric],
    cells: Mapping[str, Mapping[str, LatestFigure]],
) -> Mapping[str, ByValue]:
    """Of each column the latest figures that are of the images, and by the definition, of the cell's own figure."""
    found: dict[str, dict[str, dict[str, dict[str, Figure]]]] = {}
    for evaluation in evaluations:
        defined = {name for name, metric in evaluation.metrics.items() if metric == metrics[name]}
        for column, groups in evaluation.by.items():
            for value, cell_id, figures in ((value, *item) for value, each in groups.items() for item in each.items()):
                own, images = cells.get(cell_id, {}), evaluation.images.get(cell_id)
                same = [name for name in figures if name in defined and name in own and own[name].images == images]
                if same:
                    of_value = found.setdefault(column, {}).setdefault(value, {})
                    of_value.setdefault(cell_id, {}).update({name: figures[name] for name in same})
    return found


def _latest(
    evaluation: Evaluation, cell_id: str, name: str, figure: Figure, earlier: LatestFigure | None
) -> LatestFigure:
    """A cost stays until another is measured: an evaluation of some cells alone may lack the base."""
    gap = evaluation.gaps.get(cell_id, {}).get(name)
    cost = evaluation.costs.get(cell_id, {}).get(name) or (earlier.cost if earlier else None)
    return LatestFigure(figure, gap, cost, evaluation.images.get(cell_id))


def _clip_convention(metric: Metric) -> ClipConvention:
    """By the name before the colon; one that another version named otherwise is shown as 100 times the cosine."""
    return CLIP_CONVENTIONS.get(metric.convention.partition(":")[0], CLIP_CONVENTIONS["x100"])


def _place(name: str) -> tuple[int, str]:
    kind = kind_of(name)
    return (_FIRST.index(kind) if kind in _FIRST else len(_FIRST)), name
