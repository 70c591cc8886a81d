"""How figures are written: as many decimals as a column needs, the same in all of its rows. Knows no page."""

from collections.abc import Iterable

from darkroom.metrics.figures import Figure, Gap, Metric
from darkroom.metrics.tables import arrow, decimals, number
from darkroom.reporting.content import CellResult

NO_FIGURE = "–"


def metric_decimals(metric: Metric, cells: Iterable[CellResult]) -> int:
    return decimals(cell.figures[metric.name].value for cell in cells if metric.name in cell.figures)


def value_text(value: float | None, places: int) -> str:
    return number(value, places, NO_FIGURE)


def interval_text(figure: Figure, places: int) -> str:
    """Such as "11.02 – 11.48"; empty where there is no interval."""
    if figure.low is None or figure.high is None:
        return ""
    return f"{value_text(figure.low, places)} – {value_text(figure.high, places)}"


def gap_decimals(gaps: Iterable[Gap | None]) -> int:
    return decimals(end for gap in gaps if gap for end in (gap.low, gap.high))


def gap_text(gap: Gap, places: int) -> str:
    """Such as "+0.31 (-0.12 to 0.74)"."""
    return f"{gap.difference:+.{places}f} ({gap.low:.{places}f} to {gap.high:.{places}f})"


def speed_text(speed_up: float | None) -> str:
    """Such as "1.83x"."""
    return NO_FIGURE if speed_up is None else f"{speed_up:.2f}x"


def better(metric: Metric) -> str:
    """The arrow that says where better is."""
    return arrow(metric.higher_is_better)
