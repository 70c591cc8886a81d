"""Costs of speed in words, the same on the page and in Markdown. Knows no files."""

from collections.abc import Sequence

from pipeline.report.content import Cost, Metric
from pipeline.report.numbers import NO_FIGURE, gap_decimals, gap_text, setting_text

NO_BASE = f"{NO_FIGURE}: not known, where the run has no such cell; add it to the grid."


def cost_label(cost: Cost) -> str:
    """Such as "cache_interval=2"."""
    return ", ".join(f"{name}={setting_text(value)}" for name, value in cost.settings.items())


def cost_column(metric: Metric, costs: Sequence[Cost]) -> list[str]:
    """One metric's differences, an entry for each cost."""
    gaps = [cost.gaps.get(metric.name) for cost in costs]
    places = gap_decimals(gaps)
    return [gap_text(gap, places) if gap else NO_FIGURE for gap in gaps]
