"""Figures as plain text for a terminal, intervals and warnings with them. Knows no metric's formula.

One cell: a line a metric. Several: a line a cell and a column a metric, in as many tables as a terminal's width asks.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pipeline.evaluation.columns import aligned, arrow, decimals, interval, number
from pipeline.runs.evaluations import CellFigure, CellFigures, MetricInfo

_WIDTH = 120  # characters
_BEST = "*"

Settings = Mapping[str, Mapping[str, object]]


def figures_table(infos: Mapping[str, MetricInfo], cells: Mapping[str, CellFigures], settings: Settings) -> str:
    """Figures by cell_id, with the settings in which the cells differ; `*` marks each metric's best cell.

    Below stand the metrics' conventions and all warnings, each once.
    """
    names = [name for name in infos if any(name in figures for figures in cells.values())]
    tables = [_single(infos, cells, names)] if len(cells) == 1 else _tables(infos, cells, names, settings)
    best = [f"{_BEST} best of its column"] if len(cells) > 1 else []
    return "\n\n".join([*tables, "\n".join([*best, *_notes(infos, cells, names)])])


def _single(infos: Mapping[str, MetricInfo], cells: Mapping[str, CellFigures], names: Sequence[str]) -> str:
    (figures,) = cells.values()
    header = ["metric", "", "figure", "95 % interval", "images", "reference"]
    rows = [_line(infos[name], figures[name]) for name in names]
    return aligned([header, *rows], num_left=1)


def _line(info: MetricInfo, figure: CellFigure) -> list[str]:
    places = decimals([figure.value])
    counts = [_count(figure.num_images), _count(figure.num_reference)]
    return [
        info.name,
        arrow(info.higher_is_better),
        number(figure.value, places),
        interval(figure.low, figure.high, places),
        *counts,
    ]


def _tables(
    infos: Mapping[str, MetricInfo], cells: Mapping[str, CellFigures], names: Sequence[str], settings: Settings
) -> list[str]:
    """The settings come again in each."""
    axes = _axes(cells, settings)
    left = [[axis.split(".")[-1] for axis in axes] or ["cell"]]
    left += [[_setting(settings[cell_id].get(axis)) for axis in axes] or [cell_id] for cell_id in cells]
    columns = [_column(infos[name], cells) for name in names]
    room = _WIDTH - max(map(len, aligned(left, len(left[0])).splitlines()))
    return [
        aligned([[*row, *(column[place] for column in group)] for place, row in enumerate(left)], len(left[0]))
        for group in _groups(columns, room)
    ]


def _groups(columns: Sequence[list[str]], room: int) -> Iterator[list[list[str]]]:
    """Columns that fit beside each other; at least one a group."""
    group: list[list[str]] = []
    left = room
    for column in columns:
        width = max(map(len, column)) + 2
        if group and width > left:
            yield group
            group, left = [], room
        group.append(column)
        left -= width
    if group:
        yield group


def _column(info: MetricInfo, cells: Mapping[str, CellFigures]) -> list[str]:
    figures = [figures.get(info.name) for figures in cells.values()]
    known = [figure for figure in figures if figure and math.isfinite(figure.value)]
    best = (max if info.higher_is_better else min)((figure.value for figure in known), default=math.nan)
    places = decimals(figure.value for figure in known)
    intervals = [interval(figure.low, figure.high, places) if figure else "" for figure in figures]
    width = max(map(len, intervals))
    entries = [
        (number(figure.value, places) if figure else "-")
        + (f" {text:<{width}}" if width else "")
        + (_BEST if figure and figure.value == best else " ")
        for figure, text in zip(figures, intervals, strict=True)
    ]
    return [f"{info.name} {arrow(info.higher_is_better)} ", *entries]


def _notes(infos: Mapping[str, MetricInfo], cells: Mapping[str, CellFigures], names: Sequence[str]) -> list[str]:
    """What the figures are, then what to mind about them, with the number of cells that it is about."""
    about = [f"{name}: {infos[name].convention}" for name in names]
    about += [f"compared with {name}" for name in dict.fromkeys(infos[name].reference for name in names) if name]
    cautions: dict[str, int] = {}
    for figures in cells.values():
        for name in names:
            for text in figures[name].warnings if name in figures else ():
                line = text if text.startswith(name) else f"{name}: {text}"
                cautions[line] = cautions.get(line, 0) + 1
    of = f" ({{}} of {len(cells)} cells)" if len(cells) > 1 else ""
    return [*about, *(f"warning: {line}{of.format(count)}" for line, count in cautions.items())]


def _axes(cells: Iterable[str], settings: Settings) -> list[str]:
    """Settings that the cells differ in."""
    names = dict.fromkeys(name for cell_id in cells for name in settings[cell_id])
    return [name for name in names if len({_setting(settings[cell_id].get(name)) for cell_id in cells}) > 1]


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _setting(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
