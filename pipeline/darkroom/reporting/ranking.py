"""Which cells are best, which are dominated, and which lie on a Pareto front."""

import math
from collections.abc import Collection, Sequence

import numpy as np

from darkroom.evaluation.figures import Figure, Gap, Metric
from darkroom.reporting.content import CellResult


def figure_of(cell: CellResult, metric: Metric) -> Figure | None:
    """The cell's figure, or None where it is missing or could not be computed."""
    figure = cell.figures.get(metric.name)
    return figure if figure is not None and math.isfinite(figure.value) else None


def ranked_figure_of(cell: CellResult, metric: Metric) -> Figure | None:
    """The same; None too where it is of too few images to tell a better cell by."""
    figure = figure_of(cell, metric)
    return figure if figure and figure.is_ranked else None


def merit(figure: Figure, metric: Metric) -> float:
    """The value, turned so that more is better."""
    return figure.value if metric.higher_is_better else -figure.value


def order_by(cells: Sequence[CellResult], metric: Metric) -> list[CellResult]:
    """Cells that can be ranked by the metric, best first; ties keep their order."""
    known = [(figure, cell) for cell in cells if (figure := ranked_figure_of(cell, metric)) is not None]
    return [cell for _, cell in sorted(known, key=lambda pair: -merit(pair[0], metric))]


def order_all(cells: Sequence[CellResult], metrics: Sequence[Metric]) -> list[CellResult]:
    """All cells: first those that are not dominated, each part by the first metric that ranks, best first."""
    beaten = dominated(cells, metrics)
    orders = filter(None, (order_by(cells, metric) for metric in metrics))
    place = {cell.cell_id: index for index, cell in enumerate(next(orders, cells))}
    return sorted(cells, key=lambda cell: (cell.cell_id in beaten, place.get(cell.cell_id, len(cells))))


def best_cells(cells: Sequence[CellResult], metric: Metric) -> frozenset[str]:
    """cell_ids with the best value; several where they tie, none where the metric ranks no cell."""
    figures = {cell.cell_id: ranked_figure_of(cell, metric) for cell in cells}
    merits = {cell_id: merit(figure, metric) for cell_id, figure in figures.items() if figure}
    top = max(merits.values(), default=0.0)
    return frozenset(name for name, value in merits.items() if value == top)


def rivals(cells: Sequence[CellResult], metric: Metric) -> frozenset[str]:
    """cell_ids that cannot be told apart from a best cell, best cells left out.

    By the interval of the difference from it, image by image, which is not all on the worse side; where that was not
    measured, by both figures' intervals, which overlap.
    """
    best = best_cells(cells, metric)
    leaders = [figure for cell in cells if cell.cell_id in best and (figure := ranked_figure_of(cell, metric))]
    return frozenset(
        cell.cell_id for cell in cells if cell.cell_id not in best and _is_near(cell, metric, leaders, best)
    )


def gap_of(cell: CellResult, metric: Metric, best: Collection[str]) -> Gap | None:
    """The figure's difference from one of the best cells; None where it was measured from another or from none."""
    gap = cell.gaps.get(metric.name)
    return gap if figure_of(cell, metric) and gap and gap.base in best else None


def _is_near(cell: CellResult, metric: Metric, leaders: Sequence[Figure], best: Collection[str]) -> bool:
    figure, gap = ranked_figure_of(cell, metric), gap_of(cell, metric, best)
    if gap:
        return not gap.is_worse(metric.higher_is_better)
    return figure is not None and any(_overlap(figure, leader) for leader in leaders)


def _overlap(one: Figure, other: Figure) -> bool:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low <= other.high and other.low <= one.high


def dominated(cells: Sequence[CellResult], metrics: Sequence[Metric]) -> frozenset[str]:
    """cell_ids for which another cell is at least as good in all metrics, and that are told apart from the best of one.

    Metrics that rank no cell do not count; a cell that lacks one of the others neither dominates nor is dominated.
    """
    return _beaten(cells, metrics) & _told_apart(cells, metrics)


def _beaten(cells: Sequence[CellResult], metrics: Sequence[Metric]) -> frozenset[str]:
    """Whatever chance may have done."""
    names, merits = _merits(cells, metrics)
    return frozenset(
        name
        for name, row in zip(names, merits, strict=True)
        if ((merits >= row).all(axis=1) & (merits > row).any(axis=1)).any()
    )


def _told_apart(cells: Sequence[CellResult], metrics: Sequence[Metric]) -> frozenset[str]:
    """cell_ids that are worse than the best cell of some metric by more than chance.

    A metric without an interval does not say so, and counts only where no metric has one.
    """
    with_interval = [metric for metric in metrics if any(_has_interval(cell, metric) for cell in cells)]
    found: set[str] = set()
    for metric in with_interval or metrics:
        near = best_cells(cells, metric) | rivals(cells, metric)
        found |= {cell.cell_id for cell in cells if cell.cell_id not in near and ranked_figure_of(cell, metric)}
    return frozenset(found)


def _has_interval(cell: CellResult, metric: Metric) -> bool:
    figure = ranked_figure_of(cell, metric)
    return figure is not None and figure.low is not None


def pareto_front(cells: Sequence[CellResult], first: Metric, second: Metric) -> tuple[str, ...]:
    """cell_ids that no other cell dominates in two metrics, by rising value of `first`."""
    pair = (first, second)
    beaten = _beaten(cells, pair)
    front = [
        cell for cell in cells if cell.cell_id not in beaten and all(ranked_figure_of(cell, metric) for metric in pair)
    ]
    return tuple(cell.cell_id for cell in sorted(front, key=lambda cell: cell.figures[first.name].value))


def _merits(cells: Sequence[CellResult], metrics: Sequence[Metric]) -> tuple[list[str], np.ndarray]:
    """cell_ids of complete cells, and their merits: float64 [cells, metrics]."""
    counted = [metric for metric in metrics if any(ranked_figure_of(cell, metric) for cell in cells)]
    names, rows = [], []
    for cell in cells:
        figures = [ranked_figure_of(cell, metric) for metric in counted]
        known = [figure for figure in figures if figure is not None]
        if counted and len(known) == len(counted):
            names.append(cell.cell_id)
            rows.append([merit(figure, metric) for figure, metric in zip(known, counted, strict=True)])
    return names, np.array(rows, dtype=np.float64).reshape(len(rows), len(counted))
