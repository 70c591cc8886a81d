"""report.md: the report's figures in Markdown, to paste into a pull request. Knows no files."""

from collections.abc import Sequence

from darkroom.metrics.figures import Metric
from darkroom.metrics.tables import Table, markdown_table, setting_text
from darkroom.reporting.content import CellResult, ReportContent
from darkroom.reporting.cost_text import NO_BASE, cost_headings, cost_rows
from darkroom.reporting.markup import markdown
from darkroom.reporting.numbers import (
    NO_FIGURE,
    better,
    gap_decimals,
    gap_text,
    interval_text,
    metric_decimals,
    value_text,
)
from darkroom.reporting.payload import cell_label
from darkroom.reporting.ranking import best_cells, dominated, figure_of, gap_of, order_all, order_by, rivals

_MAX_CELLS = 50  # rows of the table; metrics.parquet has all
_MAX_FAILURES = 10
_MAX_NEAR = 10  # cells named at once


def summary(content: ReportContent) -> str:
    """Title, winners, table of cells (the best where they are many), warnings, failures, notes, command."""
    parts = [
        [f"# {markdown(content.title)}"],
        _winners(content),
        _cells_table(content),
        _gaps_table(content),
        _costs_table(content),
        _list("Warnings", _warnings(content)),
        _list("Failed and filtered", _failures(content)),
        _list("Dropped early", [markdown(f"{cell.cell_id[:8]}: {cell.when}; {cell.why}") for cell in content.dropped]),
        _list("Notes", [markdown(note) for note in content.notes]),
        _list("Run", [f"{markdown(name)}: {markdown(value)}" for name, value in content.facts]),
        ["Run it again:", "", *("    " + line for line in content.command.splitlines())],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _winners(content: ReportContent) -> list[str]:
    lines = []
    for metric in content.metrics:
        for best in order_by(content.cells, metric)[:1]:
            places = metric_decimals(metric, content.cells)
            value = f"**{_entry(best, metric, places)}**"
            near = [cell for cell in content.cells if cell.cell_id in rivals(content.cells, metric)]
            said = ", ".join(markdown(cell_label(cell, content)) for cell in near[:_MAX_NEAR])
            more = f" and {len(near) - _MAX_NEAR} more" if len(near) > _MAX_NEAR else ""
            apart = f"; not told apart from it: {said}{more}" if near else ""
            lines.append(f"- Best {markdown(metric.title)}: {markdown(cell_label(best, content))}, {value}{apart}")
    return lines if len(content.cells) > 1 else []


def _shown(content: ReportContent) -> list[CellResult]:
    chosen = {cell.cell_id for cell in order_all(content.cells, content.metrics)[:_MAX_CELLS]}
    return [cell for cell in content.cells if cell.cell_id in chosen]


def _cells_table(content: ReportContent) -> list[str]:
    shown = _shown(content)
    beaten = dominated(content.cells, content.metrics)
    names = ["cell", *(axis.name for axis in content.axes), "images", "failed"]
    arrows = [f"{metric.title} {better(metric)}" for metric in content.metrics]
    columns = [_column(metric, content) for metric in content.metrics]
    rows = [[*_settings(cell, content, beaten), *(column[cell.cell_id] for column in columns)] for cell in shown]
    table = Table([markdown(name) for name in (*names, *arrows)], rows, num_left=1 + len(content.axes))
    legend = "**Bold**: best. †: another cell is at least as good in all metrics and better in one." if beaten else ""
    near = any(rivals(content.cells, metric) for metric in content.metrics)
    legend += " ≈: not told apart from the best." if near else ""
    cut = f"The best {len(shown)} of {len(content.cells)} cells." if len(shown) < len(content.cells) else ""
    below = " ".join(filter(None, (cut, legend)))
    return markdown_table(table) + (["", below] if below else [])


def _gaps_table(content: ReportContent) -> list[str]:
    """Differences from each metric's best cell; nothing where none was measured."""
    columns = {metric: _gap_column(metric, content) for metric in content.metrics}
    columns = {metric: column for metric, column in columns.items() if column}
    if not columns:
        return []
    names = ["cell", *(axis.name for axis in content.axes), *(metric.title for metric in columns)]
    rows = [
        [*_settings(cell, content, frozenset())[:-2], *(one.get(cell.cell_id, "") for one in columns.values())]
        for cell in _shown(content)
    ]
    table = Table([markdown(name) for name in names], rows, num_left=1 + len(content.axes))
    about = "Differences from the best cell, image by image, with their 95 % intervals:"
    return [about, "", *markdown_table(table)]


def _costs_table(content: ReportContent) -> list[str]:
    """What faster settings gain and lose; nothing where no cell has any."""
    if not content.costs:
        return []
    headings = [markdown(heading) for heading in cost_headings(content)]
    rows = [[cell, markdown(settings), *figures] for cell, settings, *figures in cost_rows(content)]
    alone = ["", NO_BASE] if any(cost.base is None for cost in content.costs) else []
    said = "Cost of speed, against the same cell without these settings, image by image, with 95 % intervals; speed by "
    said += "the median image's time on the device:"
    return [said, "", *markdown_table(Table(headings, rows, num_left=2)), *alone]


def _gap_column(metric: Metric, content: ReportContent) -> dict[str, str]:
    best = best_cells(content.cells, metric)
    gaps = {cell.cell_id: gap for cell in content.cells if (gap := gap_of(cell, metric, best))}
    places = gap_decimals(gaps.values())
    entries = {name: gap_text(gap, places) + ("" if gap.is_told_apart else " ≈") for name, gap in gaps.items()}
    return entries | {name: "best" for name in best if gaps}


def _settings(cell: CellResult, content: ReportContent, beaten: frozenset[str]) -> list[str]:
    name = markdown(cell.cell_id[:8]) + (" †" if cell.cell_id in beaten else "")
    settings = [markdown(setting_text(cell.settings[axis.name])) for axis in content.axes]
    return [name, *settings, f"{cell.num_images:,}", f"{cell.num_failed:,}"]


def _column(metric: Metric, content: ReportContent) -> dict[str, str]:
    """cell_id -> the metric's entry, the best in bold."""
    places = metric_decimals(metric, content.cells)
    best = best_cells(content.cells, metric)
    near = rivals(content.cells, metric)
    entries = {
        cell.cell_id: _entry(cell, metric, places) + (" ≈" if cell.cell_id in near else "") for cell in content.cells
    }
    return {name: f"**{entry}**" if name in best else entry for name, entry in entries.items()}


def _entry(cell: CellResult, metric: Metric, places: int) -> str:
    figure = figure_of(cell, metric)
    if figure is None:
        return NO_FIGURE
    interval = interval_text(figure, places)
    warning = " ⚠" if figure.warnings else ""
    return value_text(figure.value, places) + (f" ({interval})" if interval else "") + warning


def _warnings(content: ReportContent) -> list[str]:
    """Each once, with the cells whose figure it is about where those are not all."""
    found: dict[tuple[str, str], list[str]] = {}
    for metric in content.metrics:
        for cell in content.cells:
            for text in cell.figures[metric.name].warnings if metric.name in cell.figures else ():
                found.setdefault((metric.title, text), []).append(cell.cell_id[:8])
    return [
        f"⚠ {markdown(title)}{_only_of(cells, content)}: {markdown(text)}" for (title, text), cells in found.items()
    ]


def _only_of(cells: Sequence[str], content: ReportContent) -> str:
    if len(cells) == len(content.cells):
        return ""
    more = f" and {len(cells) - _MAX_NEAR} more cells" if len(cells) > _MAX_NEAR else ""
    return f" of {', '.join(cells[:_MAX_NEAR])}{more}"


def _failures(content: ReportContent) -> list[str]:
    total = sum(cell.num_failed for cell in content.cells)
    lines = [
        f"{markdown(failure.status)}: {markdown(failure.prompt)}: {markdown(failure.reason)}"
        for failure in content.failures[:_MAX_FAILURES]
    ]
    return [f"{total:,} in all", *lines] if total or lines else []


def _list(heading: str, lines: Sequence[str]) -> list[str]:
    return [f"{heading}:", "", *(f"- {line}" for line in lines)] if lines else []
