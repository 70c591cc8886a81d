"""Costs of speed in words, the same on the page and in Markdown. Knows no files."""

from collections.abc import Sequence

from darkroom.metrics.figures import Metric
from darkroom.metrics.tables import setting_text
from darkroom.reporting.content import Cost, ReportContent
from darkroom.reporting.numbers import NO_FIGURE, better, gap_decimals, gap_text, speed_text

NO_BASE = f"{NO_FIGURE}: not known, where the run has no such cell; add it to the grid."


def _label(cost: Cost) -> str:
    """Such as "cache_interval=2"."""
    return ", ".join(f"{name}={setting_text(value)}" for name, value in cost.settings.items())


def _metrics(content: ReportContent) -> list[Metric]:
    """Those in which any of the costs is known."""
    return [metric for metric in content.metrics if any(metric.name in cost.gaps for cost in content.costs)]


def cost_headings(content: ReportContent) -> list[str]:
    """Of the columns of `cost_rows`."""
    deltas = [f"Δ {metric.title} {better(metric)}" for metric in _metrics(content)]
    return ["cell", "for speed", "as fast", *deltas]


def cost_rows(content: ReportContent) -> list[list[str]]:
    """Of each cost its cell, its settings, how much faster it is, and its difference in each of the metrics."""
    columns = [_column(metric, content.costs) for metric in _metrics(content)]
    return [
        [cost.cell_id[:8], _label(cost), speed_text(cost.speed_up), *(column[place] for column in columns)]
        for place, cost in enumerate(content.costs)
    ]


def _column(metric: Metric, costs: Sequence[Cost]) -> list[str]:
    gaps = [cost.gaps.get(metric.name) for cost in costs]
    places = gap_decimals(gaps)
    return [gap_text(gap, places) if gap else NO_FIGURE for gap in gaps]
