"""Figures and gaps as tables of a terminal, with their intervals, definitions and warnings.

One cell: a line a metric. Several: a line a cell and a column a metric, in as many tables as a terminal's width asks.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap

from darkroom.evaluation.figures import (
    ABOUT_COMPARISON,
    ABOUT_GAPS,
    ABOUT_INTERVALS,
    Controls,
    Figure,
    Figures,
    Gap,
    Gaps,
    Metric,
)
from darkroom.evaluation.gaps import verdict
from darkroom.evaluation.tables import (
    Table,
    arrow,
    decimals,
    interval,
    number,
    setting_text,
    shortened,
    text_table,
    text_tables,
)

_WIDTH = 120  # characters
_BEST, _NEAR, _LEVEL = "*", "≈", "="
_LEGEND = (
    f"{_BEST} best of its column; {_NEAR} not told apart from it: the interval of their difference is not all worse"
)
_LEVEL_LEGEND = f"{_LEVEL} equal in all cells: none is best"
_NO_INTERVAL = "{}: without intervals, so that chance may have chosen the best"
_ABOUT_COSTS = "what lossy settings cost, image by image, against the same cell without them:"
_ABOUT_GAPS = "differences from each column's best, image by image, with their 95 % intervals:"

Settings = Mapping[str, Mapping[str, object]]  # by cell_id


def figures_table(
    metrics: Mapping[str, Metric],
    cells: Mapping[str, Figures],
    settings: Settings,
    gaps: Gaps,
    controls: Controls | None = None,
) -> str:
    """Figures by cell_id, with the settings in which the cells differ; `*` marks each metric's best cell. Metrics that
    rank no cell come last, and below the cells `controls`, which rank nothing.

    Of several cells the same again as differences from the best. Below stand the metrics' conventions and all
    warnings, each once.
    """
    beside = {name: control.figures for name, control in (controls or {}).items() if control.figures}
    there = [metric for name, metric in metrics.items() if any(name in figures for figures in cells.values())]
    shown = sorted(there, key=lambda metric: not _ranked(metric, cells))
    notes = _notes(shown, cells, controls or {})
    if len(cells) == 1:
        return "\n\n".join([text_table(_one_cell(shown, next(iter(cells.values())), beside)), "\n".join(notes)])
    names = cell_names(cells, settings)
    below = [[name, *[""] * (len(names[0]) - 1)] for name in beside]
    compared = [metric for metric in shown if any(metric.name in found for found in gaps.values())]
    figures = _beside([*names, *below], [_figure_column(metric, cells, gaps, beside) for metric in shown])
    tables = text_tables(figures, _WIDTH)
    if compared:
        columns = [_gap_column(metric, cells, gaps) for metric in compared]
        tables += [_ABOUT_GAPS, *text_tables(_beside(names, columns), _WIDTH)]
    bare = [metric.name for metric in shown if (found := _ranked(metric, cells)) and not _have_intervals(found)]
    legend = [
        _LEGEND,
        *([_LEVEL_LEGEND] if any(_is_level(metric, cells) for metric in shown) else []),
        *([_NO_INTERVAL.format(", ".join(bare))] if bare else []),
    ]
    return "\n\n".join([*tables, "\n".join([*legend, *notes])])


def costs_table(metrics: Mapping[str, Metric], lossy: Mapping[str, str], costs: Gaps, width: int = _WIDTH) -> str:
    """Cells with lossy settings: which (`lossy`, by cell_id), and gaps from the same without."""
    names = [["with", "cell"], *([words, cell_id] for cell_id, words in lossy.items())]
    shown = [metric for name, metric in metrics.items() if any(name in found for found in costs.values())]
    table = _beside(names, [_gap_column(metric, lossy, costs) for metric in shown])
    return "\n\n".join([_ABOUT_COSTS, *text_tables(table, width)])


def comparison_table(metrics: Mapping[str, Metric], gaps: Mapping[str, Gap], tolerance: float) -> str:
    """A line a metric: both values over the pairs, b - a, its interval, the verdict; then conventions and warnings."""
    headings = ["metric", "", "a", "b", "b - a", "95 % interval", "verdict"]
    rows = [_comparison_row(metrics[name], gap, tolerance) for name, gap in gaps.items()]
    about = [f"{name}: {metrics[name].convention}" for name in gaps]
    shown = [metrics[name] for name in gaps]
    about += [*_pixels(shown), *_references(shown)]
    about += wrap(f"{ABOUT_INTERVALS} {ABOUT_COMPARISON}", _WIDTH)
    warnings = [f"warning: {name}: {line}" for name, gap in gaps.items() for line in gap.warnings]
    return "\n".join([text_table(Table(headings, rows)), "", *about, *warnings])


def _one_cell(metrics: Sequence[Metric], figures: Figures, beside: Mapping[str, Figures]) -> Table:
    headings = ["metric", "", "figure", "95 % interval", "images", "reference", *beside]
    known = [[control.get(metric.name) for control in beside.values()] for metric in metrics]
    rows = zip(metrics, known, strict=True)
    return Table(headings, [_figure_row(metric, figures[metric.name], controls) for metric, controls in rows])


def _figure_row(metric: Metric, figure: Figure, controls: Sequence[Figure | None]) -> list[str]:
    places = decimals([figure.value])
    return [
        metric.name,
        arrow(metric.higher_is_better),
        number(figure.value, places),
        interval(figure.low, figure.high, places),
        f"{figure.num_images:,}",
        "" if figure.num_reference is None else f"{figure.num_reference:,}",
        *(number(control.value, places) if control else "" for control in controls),
    ]


def _comparison_row(metric: Metric, gap: Gap, tolerance: float) -> list[str]:
    places = decimals(value for value in (gap.base_value, gap.value) if value is not None)
    # A difference may be a thousand times smaller than what it is between.
    gap_places = max(places, min(8, decimals([gap.low, gap.high])))
    return [
        metric.name,
        arrow(metric.higher_is_better),
        number(gap.base_value, places),
        number(gap.value, places),
        f"{gap.difference:+.{gap_places}f}",
        interval(gap.low, gap.high, gap_places),
        verdict(metric, gap, tolerance).value,
    ]


def cell_names(cells: Iterable[str], settings: Settings) -> list[list[str]]:
    """A line of headings, and a line a cell, with what tells it from others."""
    axes = _axes(cells, settings)
    headings = [axis.split(".")[-1] for axis in axes] or ["cell"]
    texts = {axis: [setting_text(settings[cell_id].get(axis)) for cell_id in cells] for axis in axes}
    columns = [[names[text] for text in found] for found in texts.values() for names in [shortened(found)]]
    return [headings, *(map(list, zip(*columns, strict=True)) if columns else ([cell_id] for cell_id in cells))]


def _axes(cells: Iterable[str], settings: Settings) -> list[str]:
    """Settings that the cells differ in."""
    names = dict.fromkeys(name for cell_id in cells for name in settings[cell_id])
    return [name for name in names if len({setting_text(settings[cell_id].get(name)) for cell_id in cells}) > 1]


def _beside(names: Sequence[list[str]], columns: Sequence[list[str]]) -> Table:
    """Lines of names, each with the columns' entries of that line; the first line is of headings."""
    headings, *rows = ([*line, *(column[place] for column in columns)] for place, line in enumerate(names))
    return Table(headings, rows, num_left=len(names[0]))


def _figure_column(
    metric: Metric, cells: Mapping[str, Figures], gaps: Gaps, beside: Mapping[str, Figures]
) -> list[str]:
    """Value, interval and mark, padded so that they stand below each other; the heading leaves the mark's place."""
    found = {name: figures.get(metric.name) for name, figures in [*cells.items(), *beside.items()]}
    values = [figure.value for figure in found.values() if figure and math.isfinite(figure.value)]
    ranked = [figure.value for figure in _ranked(metric, cells)]
    best = (max if metric.higher_is_better else min)(ranked, default=math.nan)
    places = decimals(values)
    intervals = [interval(figure.low, figure.high, places) if figure else "" for figure in found.values()]
    width = max(map(len, intervals))
    best_mark = _LEVEL if _is_level(metric, cells) else _BEST
    entries = []
    for (name, figure), bounds in zip(found.items(), intervals, strict=True):
        is_best = figure is not None and figure.is_ranked and figure.value == best
        mark = best_mark if is_best else _near_mark(metric, gaps.get(name, {}).get(metric.name))
        value = number(figure.value, places) if figure else "-"
        is_bare = figure is None and name in beside
        entries.append("" if is_bare else value + (f" {bounds:<{width}}" if width else "") + mark)
    return [f"{metric.name} {arrow(metric.higher_is_better)} ", *entries]


def _is_level(metric: Metric, cells: Mapping[str, Figures]) -> bool:
    """It ranks several cells, and all are equal."""
    known = [figure.value for figure in _ranked(metric, cells)]
    return len(known) > 1 and len(set(known)) == 1


def _ranked(metric: Metric, cells: Mapping[str, Figures]) -> list[Figure]:
    """Those that cells are compared by."""
    found = [figures[metric.name] for figures in cells.values() if metric.name in figures]
    return [figure for figure in found if figure.is_ranked and math.isfinite(figure.value)]


def _gap_column(metric: Metric, cells: Iterable[str], gaps: Gaps) -> list[str]:
    found = {cell_id: gaps.get(cell_id, {}).get(metric.name) for cell_id in cells}
    places = decimals(end for gap in found.values() if gap for end in (gap.low, gap.high))
    intervals = [interval(gap.low, gap.high, places) if gap else "" for gap in found.values()]
    width = max(map(len, intervals))
    bests = {gap.base for gap in found.values() if gap}
    entries = [
        f"{gap.difference:+.{places}f} {bounds:<{width}}{' ' if gap.is_told_apart else _NEAR}"
        if gap
        else f"{'-':<{width}}{_BEST if cell_id in bests else ' '}"
        for (cell_id, gap), bounds in zip(found.items(), intervals, strict=True)
    ]
    return [f"{metric.name} ", *entries]


def _near_mark(metric: Metric, gap: Gap | None) -> str:
    return " " if gap is None or gap.is_worse(metric.higher_is_better) else _NEAR


def _have_intervals(figures: Iterable[Figure]) -> bool:
    return any(figure.low is not None for figure in figures)


def _notes(metrics: Sequence[Metric], cells: Mapping[str, Figures], controls: Controls) -> list[str]:
    """What the figures are, then what to mind about them, with the number of cells that it is about."""
    about = [f"{metric.name}: {metric.convention}" for metric in metrics]
    if any(_have_intervals(figures.values()) for figures in cells.values()):
        about += wrap(ABOUT_INTERVALS + (f" {ABOUT_GAPS}" if len(cells) > 1 else ""), _WIDTH)
    about += [*_pixels(metrics), *_references(metrics)]
    about += [f"{name}: {control.note}" for name, control in controls.items()]
    of = f" ({{}} of {len(cells)} cells)" if len(cells) > 1 else ""
    warnings = _warnings(metrics, cells).items()
    return [*about, *(f"warning: {', '.join(names)}: {line}{of.format(count)}" for (line, count), names in warnings)]


def _pixels(metrics: Iterable[Metric]) -> list[str]:
    """How pictures reach each network, which published figures agree with or not."""
    ways = dict.fromkeys((metric.extractor, metric.resize) for metric in metrics)
    return [f"pixels of {extractor}: {resize}" for extractor, resize in ways if resize not in ("", "none")]


def _references(metrics: Iterable[Metric]) -> list[str]:
    return [f"compared with {name}" for name in dict.fromkeys(metric.compared_with for metric in metrics) if name]


def _warnings(metrics: Sequence[Metric], cells: Mapping[str, Figures]) -> dict[tuple[str, int], list[str]]:
    """(line, number of cells) -> the metrics that it is said of."""
    counts: Counter[tuple[str, str]] = Counter()
    for figures in cells.values():
        for name in (metric.name for metric in metrics if metric.name in figures):
            counts.update((name, line.removeprefix(f"{name}: ")) for line in figures[name].warnings)
    found: dict[tuple[str, int], list[str]] = {}
    for (name, line), count in counts.items():
        found.setdefault((line, count), []).append(name)
    return found
