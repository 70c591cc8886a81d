"""Figures as a table for people and as JSON for whoever compares them later. Pure."""

from collections.abc import Sequence
from dataclasses import asdict

from darkroom.bench.figure import Figure

_HEADINGS = ("figure", "median", "lowest to highest", "reach", "reached", "of what")


def as_table(figures: Sequence[Figure]) -> str:
    """One line a figure."""
    rows = [_HEADINGS, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def as_json(figures: Sequence[Figure], machine: dict[str, object], setting: dict[str, object]) -> dict[str, object]:
    """What was measured where, with each repeat's raw seconds."""
    return {"machine": machine, "setting": setting, "figures": [_value(figure) for figure in figures]}


def _row(figure: Figure) -> tuple[str, ...]:
    if figure.value is None or figure.spread is None:
        return figure.name, "-", "-", _reach(figure), "skipped", figure.skipped or ""
    unit = f" {figure.unit}" if figure.unit else ""
    low, high = figure.spread
    reached = {True: "yes", False: "NO", None: "-"}[figure.reached]
    return figure.name, f"{figure.value:.3g}{unit}", f"{low:.3g} to {high:.3g}", _reach(figure), reached, figure.what


def _reach(figure: Figure) -> str:
    return str(figure.reach) if figure.reach else "-"


def _value(figure: Figure) -> dict[str, object]:
    derived = {"value": figure.value, "spread": figure.spread, "reached": figure.reached}
    return {**asdict(figure), **derived, "reach": _reach(figure)}
