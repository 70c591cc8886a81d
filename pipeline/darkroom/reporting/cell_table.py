"""The table of cells: a figure, its interval in numbers and as a small picture, the best marked. Knows no files."""

import math
from collections.abc import Sequence

from darkroom.metrics.figures import Figure, Metric
from darkroom.metrics.tables import setting_text
from darkroom.reporting.content import CellResult, ReportContent, Setting
from darkroom.reporting.markup import Markup, element, join
from darkroom.reporting.numbers import (
    NO_FIGURE,
    better,
    gap_decimals,
    gap_text,
    interval_text,
    metric_decimals,
    value_text,
)
from darkroom.reporting.ranking import best_cells, dominated, figure_of, gap_of, rivals

_SPARK_WIDTH, _SPARK_HEIGHT = 72, 8  # pixels of an interval's picture


def cell_table(content: ReportContent) -> Markup:
    """Sorted by script; `data-value` carries what a column sorts by."""
    beaten = dominated(content.cells, content.metrics)
    columns = [_MetricColumn(metric, content.cells) for metric in content.metrics]
    rows = [_row(cell, content, columns, cell.cell_id in beaten) for cell in content.cells]
    return element("table", {"id": "cells-table", "class": "sortable"}, _head(content), element("tbody", {}, *rows))


def _head(content: ReportContent) -> Markup:
    names = [_heading(text, "") for text in ("cell", *(axis.name for axis in content.axes))]
    counts = [_heading(text, "number") for text in ("images", "failed")]
    figures = [_heading(f"{metric.title} {better(metric)}", "number", metric) for metric in content.metrics]
    return element("thead", {}, element("tr", {}, *names, *counts, *figures))


def _heading(text: str, kind: str, metric: Metric | None = None) -> Markup:
    """`data-first`: where the first click sorts to; a metric's best cells come first."""
    first = "descending" if metric is not None and metric.higher_is_better else "ascending"
    return element(
        "th", {"scope": "col", "class": kind, "data-first": first}, element("button", {"type": "button"}, text)
    )


def _row(cell: CellResult, content: ReportContent, columns: Sequence["_MetricColumn"], is_beaten: bool) -> Markup:
    name = element(
        "th",
        {"scope": "row", "data-value": cell.cell_id},
        element("button", {"type": "button", "class": "cell-name", "title": cell.cell_id}, cell.cell_id[:8]),
    )
    settings = [_setting(cell.settings[axis.name]) for axis in content.axes]
    counts = [_number(cell.num_images), _number(cell.num_failed, "warn" if cell.num_failed else "")]
    figures = [column.entry(cell) for column in columns]
    attributes = {"data-cell": cell.cell_id} | ({"class": "dominated"} if is_beaten else {})
    return element("tr", attributes, name, *settings, *counts, *figures)


def _setting(value: Setting) -> Markup:
    return element("td", {"data-value": str(value)}, setting_text(value))


def _number(count: int, kind: str = "") -> Markup:
    return element("td", {"data-value": str(count), "class": f"number {kind}".strip()}, f"{count:,}")


class _MetricColumn:
    """One metric over all cells: what its entries are scaled by and compared with."""

    def __init__(self, metric: Metric, cells: Sequence[CellResult]) -> None:
        self.metric = metric
        self.decimals = metric_decimals(metric, cells)
        self.best = best_cells(cells, metric)
        self.rivals = rivals(cells, metric)
        self.gaps = {cell.cell_id: gap for cell in cells if (gap := gap_of(cell, metric, self.best))}
        self.gap_decimals = gap_decimals(self.gaps.values())
        figures = [figure for cell in cells if (figure := figure_of(cell, metric))]
        self.left = min((_ends(figure)[0] for figure in figures), default=0.0)
        self.right = max((_ends(figure)[1] for figure in figures), default=0.0)

    def entry(self, cell: CellResult) -> Markup:
        figure = figure_of(cell, self.metric)
        if figure is None:
            missing = cell.figures.get(self.metric.name)
            return element("td", {"class": "number", "data-value": ""}, NO_FIGURE, _warning(missing))
        mark = self._mark(cell.cell_id)
        value = element("span", {"class": "value"}, value_text(figure.value, self.decimals))
        interval = element("span", {"class": "interval"}, interval_text(figure, self.decimals))
        inner = join(_warning(figure), self._spark(figure), value, mark, interval, self._gap(cell.cell_id))
        return element(
            "td", {"class": f"number {self._kind(cell.cell_id)}", "data-value": str(float(figure.value))}, inner
        )

    def _kind(self, cell_id: str) -> str:
        return "best" if cell_id in self.best else "rival" if cell_id in self.rivals else ""

    def _mark(self, cell_id: str) -> Markup:
        if cell_id in self.best:
            return element("span", {"class": "mark", "title": "best", "role": "img", "aria-label": "best"}, "★")
        if cell_id in self.rivals:
            text = "not told apart from the best"
            return element("span", {"class": "mark", "title": text, "role": "img", "aria-label": text}, "≈")
        return Markup("")

    def _gap(self, cell_id: str) -> Markup:
        gap = self.gaps.get(cell_id)
        if gap is None:
            return Markup("")
        title = f"difference from the best cell, over {gap.num_pairs:,} pairs of images"
        return element("span", {"class": "interval gap", "title": title}, f"Δ {gap_text(gap, self.gap_decimals)}")

    def _spark(self, figure: Figure) -> Markup:
        """The interval as a line with a dot, on the column's scale."""
        middle = str(_SPARK_HEIGHT / 2)
        low, high = (self._place(end) for end in _ends(figure))
        line = {"x1": low, "x2": high, "y1": middle, "y2": middle}
        dot = {"cx": self._place(figure.value), "cy": middle, "r": "2.5"}
        size = {"width": str(_SPARK_WIDTH), "height": str(_SPARK_HEIGHT), "class": "spark", "aria-hidden": "true"}
        return element("svg", size, element("line", line), element("circle", dot))

    def _place(self, value: float) -> str:
        span = self.right - self.left
        share = (value - self.left) / span if span > 0 else 0.5
        return f"{3 + share * (_SPARK_WIDTH - 6):.1f}"


def _ends(figure: Figure) -> tuple[float, float]:
    """The interval, or the value itself where there is none."""
    low, high = figure.low, figure.high
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return figure.value, figure.value
    return min(low, figure.value), max(high, figure.value)


def _warning(figure: Figure | None) -> Markup:
    if figure is None or not figure.warnings:
        return Markup("")
    text = "; ".join(figure.warnings)
    return element("span", {"class": "warning", "title": text, "role": "img", "aria-label": f"warning: {text}"}, "⚠")
