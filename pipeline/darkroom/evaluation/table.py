"""Figures as plain text for a terminal, intervals and warnings with them. Knows no metric's formula.

One cell: a line a metric. Several: a line a cell and a column a metric, in as many tables as a terminal's width asks.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from darkroom.evaluation.columns import aligned, arrow, decimals, interval, number
from darkroom.runs.evaluations import CellFigure, CellFigures, Gap, Gaps, MetricInfo

_WIDTH = 120  # characters
_BEST, _NEAR = "*", "≈"
_LEGEND = f"{_BEST} best of its column; {_NEAR} not told apart from it: the interval of their difference holds 0"
_ABOUT_COSTS = "what faster settings cost, image by image, against the same cell without them:"
_ABOUT_GAPS = "differences from each column's best, image by image, with their 95 % intervals:"

Settings = Mapping[str, Mapping[str, object]]


def figures_table(
    infos: Mapping[str, MetricInfo], cells: Mapping[str, CellFigures], settings: Settings, gaps: Gaps
) -> str:
    """Figures by cell_id, with the settings in which the cells differ; `*` marks each metric's best cell.

    Of several cells the same again as differences from the best. Below stand the metrics' conventions and all
    warnings, each once.
    """
    names = [name for name in infos if any(name in figures for figures in cells.values())]
    if len(cells) == 1:
        return "\n\n".join([_single(infos, cells, names), "\n".join(_notes(infos, cells, names))])
    left = _cells_named(cells, settings)
    figures = _tables(left, [_column(infos[name], cells, gaps) for name in names])
    compared = [name for name in names if any(name in found for found in gaps.values())]
    differences = _tables(left, [_gap_column(infos[name], cells, gaps) for name in compared])
    about = [_ABOUT_GAPS] if differences else []
    return "\n\n".join([*figures, *about, *differences, "\n".join([_LEGEND, *_notes(infos, cells, names)])])


def costs_table(infos: Mapping[str, MetricInfo], lossy: Mapping[str, str], costs: Gaps) -> str:
    """Cells that trade quality for speed: what for (`lossy`, by cell_id), and differences from the same without."""
    left = [["for speed", "cell"], *([text, cell_id] for cell_id, text in lossy.items())]
    cells: dict[str, CellFigures] = {cell_id: {} for cell_id in lossy}
    names = [name for name in infos if any(name in found for found in costs.values())]
    tables = _tables(left, [_gap_column(infos[name], cells, costs) for name in names])
    return "\n\n".join([_ABOUT_COSTS, *tables])


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


def _cells_named(cells: Iterable[str], settings: Settings) -> list[list[str]]:
    """A line of names, and a line a cell, with what tells it from others."""
    axes = _axes(cells, settings)
    head = [axis.split(".")[-1] for axis in axes] or ["cell"]
    return [head, *([_setting(settings[cell_id].get(axis)) for axis in axes] or [cell_id] for cell_id in cells)]


def _tables(left: Sequence[list[str]], columns: Sequence[list[str]]) -> list[str]:
    """`left` comes again in each."""
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


def _column(info: MetricInfo, cells: Mapping[str, CellFigures], gaps: Gaps) -> list[str]:
    figures = [figures.get(info.name) for figures in cells.values()]
    known = [figure for figure in figures if figure and math.isfinite(figure.value)]
    best = (max if info.higher_is_better else min)((figure.value for figure in known), default=math.nan)
    places = decimals(figure.value for figure in known)
    intervals = [interval(figure.low, figure.high, places) if figure else "" for figure in figures]
    width = max(map(len, intervals))
    near = [_is_near(gaps.get(cell_id, {}).get(info.name)) for cell_id in cells]
    entries = [
        (number(figure.value, places) if figure else "-")
        + (f" {text:<{width}}" if width else "")
        + (_BEST if figure and figure.value == best else _NEAR if is_near else " ")
        for figure, text, is_near in zip(figures, intervals, near, strict=True)
    ]
    return [f"{info.name} {arrow(info.higher_is_better)} ", *entries]


def _gap_column(info: MetricInfo, cells: Mapping[str, CellFigures], gaps: Gaps) -> list[str]:
    found = [gaps.get(cell_id, {}).get(info.name) for cell_id in cells]
    places = decimals(end for gap in found if gap for end in (gap.low, gap.high))
    intervals = [interval(gap.low, gap.high, places) if gap else "" for gap in found]
    width = max(map(len, intervals))
    bests = {gap.base for gap in found if gap}
    entries = [
        f"{gap.difference:+.{places}f} {text:<{width}}{_NEAR if _is_near(gap) else ' '}"
        if gap
        else f"{'-':<{width}}{_BEST if cell_id in bests else ' '}"
        for cell_id, gap, text in zip(cells, found, intervals, strict=True)
    ]
    return [f"{info.name} ", *entries]


def _is_near(gap: Gap | None) -> bool:
    return gap is not None and gap.low <= 0 <= gap.high


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
