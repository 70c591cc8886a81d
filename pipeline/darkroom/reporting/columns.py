"""What the page and report.md say of cells' figures, in the same words: a metric's column, costs, warnings."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from darkroom.evaluation.figures import ByValue, Figure, Gap, Metric
from darkroom.evaluation.tables import Table, arrow, decimals, number, setting_text
from darkroom.reporting.content import CellResult, Cost, DroppedCell, ReportContent
from darkroom.reporting.ranking import best_cells, figure_of, gap_of, order_by, rivals

NO_FIGURE = "–"
NO_BASE = f"{NO_FIGURE}: not known, where the run has no such cell; add it to the grid."


@dataclass(frozen=True)
class MetricColumn:
    """One metric over all cells: who is best, and each cell's figure as text, all with as many decimals."""

    metric: Metric
    cells: Sequence[CellResult]

    @property
    def heading(self) -> str:
        """Such as "FID ↓": the arrow says where better is."""
        return f"{self.metric.title} {arrow(self.metric.higher_is_better)}"

    @cached_property
    def order(self) -> Sequence[CellResult]:
        """Cells that the metric ranks, best first."""
        return order_by(self.cells, self.metric)

    @cached_property
    def best(self) -> frozenset[str]:
        """cell_ids."""
        return best_cells(self.cells, self.metric)

    @cached_property
    def rivals(self) -> frozenset[str]:
        """cell_ids that are not told apart from the best."""
        return rivals(self.cells, self.metric)

    @property
    def is_level(self) -> bool:
        """Several cells have the metric, and all the same value."""
        return 1 < len(self.order) == len(self.best)

    @property
    def leaders(self) -> frozenset[str]:
        """cell_ids of the best, where another cell is worse."""
        return self.best if len(self.order) > len(self.best) else frozenset()

    @property
    def has_winner(self) -> bool:
        """Some cell is told apart from the best ones."""
        return len(self.order) > len(self.best | self.rivals)

    @property
    def is_bare(self) -> bool:
        """Nothing says how far chance may have chosen the best: neither its interval nor a difference from it."""
        first = figure_of(self.order[0], self.metric) if self.order else None
        return not self.gaps and (first is None or first.low is None or first.high is None)

    @property
    def doubts(self) -> Sequence[str]:
        """What speaks against the best cell's being better than others, in sentences without their ends."""
        equal, near = len(self.best) - 1, len(self.rivals)
        are = {1: "cell is"}
        found = [f"{equal} other {are.get(equal, 'cells are')} equal"] if equal else []
        found += [f"{near} other {are.get(near, 'cells are')} not told apart from it"] if near else []
        if self.is_bare and self.has_winner:
            found.append("without an interval, so that chance may have chosen it")
        return found

    @cached_property
    def gaps(self) -> Mapping[str, Gap]:
        """cell_id -> the difference from a best cell, where one was measured."""
        return {cell.cell_id: gap for cell in self.cells if (gap := gap_of(cell, self.metric, self.best))}

    @cached_property
    def decimals(self) -> int:
        known = (cell.figures[self.metric.name] for cell in self.cells if self.metric.name in cell.figures)
        return decimals(figure.value for figure in known)

    def value(self, cell: CellResult) -> str:
        figure = figure_of(cell, self.metric)
        return number(figure.value if figure else None, self.decimals, NO_FIGURE)

    def interval(self, cell: CellResult) -> str:
        """Such as "11.02 – 11.48"; empty where there is none."""
        figure = figure_of(cell, self.metric)
        return _interval(figure, self.decimals) if figure else ""

    def value_and_interval(self, cell: CellResult) -> str:
        """Such as "11.25 (11.02 – 11.48)"."""
        interval = self.interval(cell)
        return self.value(cell) + (f" ({interval})" if interval else "")

    def gap(self, cell: CellResult) -> str:
        """Such as "+0.31 (-0.12 to 0.74)"; empty where none was measured."""
        gap = self.gaps.get(cell.cell_id)
        return _gap_text(gap, self._gap_decimals) if gap else ""

    def warnings(self, cell: CellResult) -> tuple[str, ...]:
        """Those of the cell's figure, even of one that could not be computed."""
        return cell.figures[self.metric.name].warnings if self.metric.name in cell.figures else ()

    def drawn(self, cell: CellResult) -> tuple[float, float, float]:
        """The interval's low end, the value and the high end, from 0 to 1 over what the column spans."""
        figure = cell.figures[self.metric.name]
        low, high = _ends(figure)
        return self._position(low), self._position(figure.value), self._position(high)

    def _position(self, value: float) -> float:
        left, right = self._span
        return (value - left) / (right - left) if right > left else 0.5

    @cached_property
    def _gap_decimals(self) -> int:
        return _gap_decimals(self.gaps.values())

    @cached_property
    def _span(self) -> tuple[float, float]:
        ends = [_ends(figure) for cell in self.cells if (figure := figure_of(cell, self.metric))]
        return min(low for low, _ in ends), max(high for _, high in ends)


def metric_columns(content: ReportContent) -> list[MetricColumn]:
    return [MetricColumn(metric, content.cells) for metric in content.metrics]


def cell_label(cell: CellResult, content: ReportContent) -> str:
    """The cell's values on the axes, such as "5 · euler · 30"; of a plain run, its id."""
    return " · ".join(setting_text(cell.settings[axis.name]) for axis in content.axes) or cell.cell_id[:8]


def settings_text(cell: DroppedCell) -> str:
    """Such as "guidance_scale=5, scheduler=euler"."""
    return ", ".join(f"{name}={setting_text(value)}" for name, value in cell.settings.items())


def costs_table(content: ReportContent) -> Table:
    """Of each cell with lossy settings: which they are, how fast it is, and what it loses."""
    metrics = [metric for metric in content.metrics if any(metric.name in cost.gaps for cost in content.costs)]
    columns = [_cost_column(metric, content.costs) for metric in metrics]
    headings = ["cell", "with", "as fast", *(f"Δ {MetricColumn(metric, ()).heading}" for metric in metrics)]
    rows = [
        [cost.cell_id[:8], _cost_label(cost), _speed_text(cost.speed_up), *(column[place] for column in columns)]
        for place, cost in enumerate(content.costs)
    ]
    return Table(headings, rows, num_left=2)


def by_tables(content: ReportContent) -> list[tuple[str, Table]]:
    """Each column of the prompts that figures were told by, with a row a value and cell."""
    return [(column, _by_table(column, found, content)) for column, found in content.by.items()]


def _by_table(column: str, found: ByValue, content: ReportContent) -> Table:
    lines = [
        (value, cell, cells[cell.cell_id])
        for value, cells in found.items()
        for cell in content.cells
        if cell.cell_id in cells
    ]
    metrics = [metric for metric in content.metrics if any(metric.name in figures for _, _, figures in lines)]
    columns = [_by_entries([figures.get(metric.name) for _, _, figures in lines]) for metric in metrics]
    is_several = len(content.cells) > 1
    left = [[value, *([cell_label(cell, content)] if is_several else [])] for value, cell, _ in lines]
    rows = [[*line, *(entries[place] for entries in columns)] for place, line in enumerate(left)]
    heads = [MetricColumn(metric, ()).heading for metric in metrics]
    return Table([column, *(["cell"] if is_several else []), *heads], rows, num_left=2 if is_several else 1)


def _by_entries(figures: Sequence[Figure | None]) -> list[str]:
    """Such as "0.612 (0.581 – 0.643) of 120": the number of images last."""
    places = decimals(figure.value for figure in figures if figure)
    return [
        f"{_value_and_interval(figure, places)} of {figure.num_images:,}" if figure else NO_FIGURE for figure in figures
    ]


def _value_and_interval(figure: Figure, places: int) -> str:
    """Such as "11.25 (11.02 – 11.48)"."""
    ends = _interval(figure, places)
    return number(figure.value, places, NO_FIGURE) + (f" ({ends})" if ends else "")


def _interval(figure: Figure, places: int) -> str:
    """Such as "11.02 – 11.48"; empty where there is none."""
    if figure.low is None or figure.high is None:
        return ""
    return " – ".join(number(end, places, NO_FIGURE) for end in (figure.low, figure.high))


@dataclass(frozen=True)
class Warned:
    """One warning, said once of all the figures that it is about."""

    text: str
    titles: Sequence[str]  # of metrics
    names: Sequence[str]  # likewise
    cell_ids: Sequence[str]


def warnings(content: ReportContent) -> list[Warned]:
    """What is said of the same cells by several metrics is one warning."""
    cells_of: dict[tuple[str, Metric], list[str]] = {}  # (text, metric) -> cell_ids
    for column in metric_columns(content):
        for cell in content.cells:
            for text in dict.fromkeys(column.warnings(cell)):
                said = text.removeprefix(f"{column.metric.name}: ")
                cells_of.setdefault((said, column.metric), []).append(cell.cell_id)
    metrics: dict[tuple[str, tuple[str, ...]], list[Metric]] = {}
    for (text, metric), cell_ids in cells_of.items():
        metrics.setdefault((text, tuple(cell_ids)), []).append(metric)
    return [
        Warned(text, [metric.title for metric in named], [metric.name for metric in named], cell_ids)
        for (text, cell_ids), named in metrics.items()
    ]


def _cost_label(cost: Cost) -> str:
    """Such as "cache_interval=2"."""
    return ", ".join(f"{name}={setting_text(value)}" for name, value in cost.settings.items())


def _speed_text(speed_up: float | None) -> str:
    """Such as "1.83x"."""
    return NO_FIGURE if speed_up is None else f"{speed_up:.2f}x"


def _cost_column(metric: Metric, costs: Sequence[Cost]) -> list[str]:
    gaps = [cost.gaps.get(metric.name) for cost in costs]
    places = _gap_decimals(gap for gap in gaps if gap)
    return [_gap_text(gap, places) if gap else NO_FIGURE for gap in gaps]


def _gap_decimals(gaps: Iterable[Gap]) -> int:
    return decimals(end for gap in gaps for end in (gap.low, gap.high))


def _gap_text(gap: Gap, places: int) -> str:
    return f"{gap.difference:+.{places}f} ({gap.low:.{places}f} to {gap.high:.{places}f})"


def _ends(figure: Figure) -> tuple[float, float]:
    """The interval, or the value itself where there is none."""
    low, high = figure.low, figure.high
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return figure.value, figure.value
    return min(low, figure.value), max(high, figure.value)
