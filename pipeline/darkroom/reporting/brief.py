"""An evaluation in brief, for a terminal: which setting, how sure, the cells that matter, and each warning once."""

from collections.abc import Iterator, Sequence
from textwrap import wrap

from darkroom.evaluation.figures import Controls, Metric
from darkroom.evaluation.tables import Table, interval, number, text_table, text_tables
from darkroom.reporting.columns import MetricColumn, cell_label, metric_columns, warnings
from darkroom.reporting.content import Axis, CellResult, ReportContent, control_rows
from darkroom.reporting.decision import decision, key_columns
from darkroom.reporting.ranking import figure_of

WIDTH = 80  # characters of a line
_MOST_CELLS = 8
_BEST, _NEAR, _LEVEL = "*", "≈", "="


def in_brief(cells: Sequence[CellResult], axes: Sequence[Axis], metrics: Sequence[Metric], controls: Controls) -> str:
    """Lines of at most WIDTH characters, but where a single name is longer."""
    rows = control_rows(controls)
    content = ReportContent("", (), "", tuple(axes), tuple(cells), tuple(metrics), controls=rows)
    columns = metric_columns(content)
    parts = [_one_cell(cells[0], columns, rows)] if len(cells) == 1 else _several_cells(content, columns)
    notes = [f"{name}: {control.note}" for name, control in controls.items()]
    said = [line for each in (*notes, *_warnings(content)) for line in wrap(each, WIDTH, subsequent_indent="  ")]
    return "\n\n".join([*parts, *(["\n".join(said)] if said else [])])


def _one_cell(cell: CellResult, columns: Sequence[MetricColumn], controls: Sequence[CellResult]) -> str:
    known = [column for column in columns if column.metric.name in cell.figures]
    rows = [
        [
            column.metric.name,
            _figure(cell, column),
            f"{cell.figures[column.metric.name].num_images:,}",
            *(_value(control, column) for control in controls),
        ]
        for column in known
    ]
    beside = [control.cell_id.split()[0] for control in controls]
    return text_table(Table(["metric", "figure, 95 % interval", "images", *beside], rows, num_left=2))


def _several_cells(content: ReportContent, columns: Sequence[MetricColumn]) -> list[str]:
    keys = key_columns(columns)
    decided = decision(content.cells, content.axes, keys)
    said = f"{decided.text} {decided.doubt}" if decided else "No metric here tells cells apart; its warnings say why."
    shown = _shown(content, keys, decided.cell_ids if decided else ())
    of = " · ".join(axis.name for axis in content.axes)
    left = [["cell", *(cell_label(cell, content) for cell in shown), *(row.cell_id for row in content.controls)]]
    entries = [[*_column(column, shown), *_below(column, content.controls)] for column in keys or columns[:1]]
    tables = text_tables(_beside(left, entries), WIDTH)
    about = (
        f"{len(shown)} of {len(content.cells)} cells ({of}), {len(keys)} of {len(columns)} metrics; {_BEST} best, "
        f"{_NEAR} not told apart from it, {_LEVEL} equal in all; 95 % intervals. The report has all."
    )
    return ["\n".join(wrap(said, WIDTH)), *tables, "\n".join(wrap(about, WIDTH))]


def _shown(content: ReportContent, keys: Sequence[MetricColumn], first: Sequence[str]) -> list[CellResult]:
    """The best of each metric, then those that share the best, then by the first metric; in the order of tables."""
    orders = [[cell.cell_id for cell in column.order] for column in keys]
    wanted = [*(cell_id for order in orders for cell_id in order[:1]), *first, *(orders[0] if orders else ())]
    chosen = set(list(dict.fromkeys([*wanted, *(cell.cell_id for cell in content.cells)]))[:_MOST_CELLS])
    return [cell for cell in content.cells if cell.cell_id in chosen]


def _column(column: MetricColumn, cells: Sequence[CellResult]) -> list[str]:
    """The mark's place is kept, so that figures stand below each other."""
    arrow = column.heading.rpartition(" ")[2]
    return [f"{column.metric.name} {arrow} ", *(f"{_figure(cell, column)} {_mark(cell, column)}" for cell in cells)]


def _below(column: MetricColumn, controls: Sequence[CellResult]) -> list[str]:
    """Of rows that have no mark; empty where one lacks the metric."""
    return [f"{_figure(row, column)}  " if figure_of(row, column.metric) else "" for row in controls]


def _value(control: CellResult, column: MetricColumn) -> str:
    figure = figure_of(control, column.metric)
    return number(figure.value, column.decimals) if figure else ""


def _figure(cell: CellResult, column: MetricColumn) -> str:
    """Such as "11.25 [11.02, 11.48]"."""
    figure = figure_of(cell, column.metric)
    ends = interval(figure.low, figure.high, column.decimals) if figure else ""
    return f"{column.value(cell)} {ends}".rstrip()


def _mark(cell: CellResult, column: MetricColumn) -> str:
    if column.is_level:
        return _LEVEL
    return _BEST if cell.cell_id in column.leaders else _NEAR if cell.cell_id in column.rivals else " "


def _beside(left: Sequence[Sequence[str]], columns: Sequence[Sequence[str]]) -> Table:
    headings, *rows = (list(line) for line in zip(*left, *columns, strict=True))
    return Table(headings, rows, num_left=len(left))


def _warnings(content: ReportContent) -> Iterator[str]:
    num_cells = len(content.cells)
    for each in warnings(content):
        of = f" ({len(each.cell_ids)} of {num_cells} cells)" if num_cells > 1 else ""
        yield f"warning: {each.text}{of}: {', '.join(each.names)}"
