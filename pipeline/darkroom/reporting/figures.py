"""A run's evaluations as one set of metrics and figures: the latest of each metric stands. Knows no page."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from darkroom.reporting.content import Figure, Gap, Metric
from darkroom.runs.evaluations import CellFigure, Evaluation, MetricInfo
from darkroom.runs.evaluations import Gap as StoredGap
from darkroom.runs.present import PresentImages

_CLIP_SCORE = "clip_score"
# Ends of metric names, in the order to show them; others come after.
_FIRST = ("fid", "frechet", _CLIP_SCORE, "kid", "cmmd", "vendi", "precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class ScoreInfo:
    """The metric that is a mean over single images' scores."""

    metric: str
    extractor_id: str
    convention: str

    def of(self, cosine: float) -> float:
        """One image's score, from the cosine of its features and its prompt's: Hessel et al. 2021, or 100 times it."""
        return 2.5 * max(cosine, 0.0) if self.is_hessel else 100 * cosine

    @property
    def is_hessel(self) -> bool:
        return "2.5" in self.convention


@dataclass(frozen=True)
class Figures:
    """What evaluations found out about the cells that there are."""

    infos: Mapping[str, MetricInfo]  # by metric name, in the order to show them
    cells: Mapping[str, Mapping[str, CellFigure]]  # by cell_id, then by metric name
    notes: tuple[str, ...] = ()
    gaps: Mapping[str, Mapping[str, StoredGap | None]] = field(default_factory=dict)  # as `cells`, where measured
    costs: Mapping[str, Mapping[str, StoredGap]] = field(default_factory=dict)  # of lossy cells, likewise
    images: Mapping[str, Mapping[str, PresentImages | None]] = field(
        default_factory=dict
    )  # that were measured, likewise
    present: Mapping[str, PresentImages] = field(default_factory=dict)  # by cell_id: those that are there now

    @property
    def score_info(self) -> ScoreInfo | None:
        found = (info for name, info in self.infos.items() if _kind(name) == _CLIP_SCORE)
        return next((ScoreInfo(info.name, info.extractor_id, info.convention) for info in found), None)

    def metrics(self) -> tuple[Metric, ...]:
        return tuple(_metric(info) for info in self.infos.values())

    def outdated(self) -> dict[str, list[str]]:
        """metric name -> cells whose figure is of other images than they have now."""
        return {name: [cell_id for cell_id in self.cells if self._age(cell_id, name)] for name in self.infos}

    def of_cell(self, cell_id: str) -> dict[str, Figure]:
        gaps = self.gaps.get(cell_id, {})
        return {
            name: _figure(figure, gaps.get(name), self._age(cell_id, name))
            for name, figure in self.cells.get(cell_id, {}).items()
        }

    def _age(self, cell_id: str, name: str) -> str:
        """How a figure is older than its cell's images; empty where it is not, or where there is none."""
        if name not in self.cells[cell_id] or cell_id not in self.present:
            return ""
        then, now = self.images[cell_id].get(name), self.present[cell_id]
        if then is None:
            return "its evaluation did not note which images it is of; evaluate again"
        if then == now:
            return ""
        what = f"there were {then.count:,}" if then.count != now.count else "some of them were made again since"
        return f"older than the cell's {now.count:,} images: {what}; evaluate again"


def merged(evaluations: Sequence[Evaluation], cell_ids: Collection[str]) -> Figures:
    """Oldest first. Figures of one metric that are defined otherwise than its latest are not comparable: left out."""
    infos = {name: info for evaluation in evaluations for name, info in evaluation.metrics.items()}
    cells: dict[str, dict[str, CellFigure]] = {cell_id: {} for cell_id in cell_ids}
    gaps: dict[str, dict[str, StoredGap | None]] = {cell_id: {} for cell_id in cell_ids}
    costs: dict[str, dict[str, StoredGap]] = {cell_id: {} for cell_id in cell_ids}
    images: dict[str, dict[str, PresentImages | None]] = {cell_id: {} for cell_id in cell_ids}
    redefined: set[str] = set()
    for evaluation in evaluations:
        for cell_id in cells.keys() & evaluation.cells.keys():
            for name, figure in evaluation.cells[cell_id].items():
                if evaluation.metrics.get(name) == infos.get(name):
                    cells[cell_id][name] = figure
                    images[cell_id][name] = evaluation.images.get(cell_id)
                    gaps[cell_id][name] = evaluation.gaps.get(cell_id, {}).get(name)
                    costs[cell_id] |= _only(evaluation.costs.get(cell_id, {}), name)
                else:
                    redefined.add(name)
    known = {name: infos[name] for name in sorted(infos, key=_place) if any(name in found for found in cells.values())}
    notes = [
        f"{infos[name].title}: figures of earlier evaluations with another definition or reference are left out."
        for name in sorted(redefined & known.keys())
    ]
    return Figures(known, cells, tuple(notes), gaps, costs, images)


def _only(found: Mapping[str, StoredGap], name: str) -> dict[str, StoredGap]:
    return {name: found[name]} if name in found else {}


def _kind(name: str) -> str:
    return name.rpartition(".")[2]


def _place(name: str) -> tuple[int, str]:
    kind = _kind(name)
    return (_FIRST.index(kind) if kind in _FIRST else len(_FIRST)), name


def _metric(info: MetricInfo) -> Metric:
    return Metric(
        name=info.name,
        title=info.title,
        higher_is_better=info.higher_is_better,
        convention=info.convention,
        interval=info.interval,
        extractor=info.extractor,
        weights_digest=info.weights,
        resize=info.resize,
        reference=info.reference,
    )


def _figure(figure: CellFigure, gap: StoredGap | None, age: str) -> Figure:
    counts = figure.num_images, figure.num_reference
    known = Gap(**asdict(gap)) if gap else None
    warnings = (*([age] if age else ()), *figure.warnings)
    return Figure(figure.value, figure.low, figure.high, *counts, warnings, known, bool(age))
