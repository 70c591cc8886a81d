"""report.md: the report's figures in Markdown, to paste into a pull request."""

import re
from collections.abc import Sequence

from darkroom.evaluation.tables import Table, markdown_table, setting_text
from darkroom.reporting.columns import (
    NO_BASE,
    MetricColumn,
    by_tables,
    cell_label,
    costs_table,
    metric_columns,
    settings_text,
    warnings,
)
from darkroom.reporting.content import CellResult, ReportContent
from darkroom.reporting.decision import decision, key_columns
from darkroom.reporting.ranking import dominated, figure_of, order_all

_MAX_CELLS = 50  # rows of the table; metrics.parquet has all
_MAX_FAILURES = 10
_MAX_NEAR = 10  # cells named at once
_ZERO_WIDTH = "&#8203;"
# An underscore inside a word is an underscore everywhere.
_MARKDOWN_SIGNS = re.compile(
    r"(?P<link>://|\bwww\.)|(?P<mention>[@#](?=\w))|[\\`*{}\[\]<>()#|~!$&\"^]|_(?![^\W_])|(?<![^\W_])_"
)


def summary(content: ReportContent) -> str:
    """Title, decision, winners, table of cells (the best where they are many), warnings, failures, notes, command."""
    parts = [
        [f"# {markdown(content.title)}"],
        _decided(content),
        _winners(content),
        _cells_table(content),
        _gaps_table(content),
        _costs_table(content),
        *_by_tables(content),
        _list("Warnings", _warnings(content)),
        _list("Failed and filtered", _failures(content)),
        _list(
            "Dropped early", [markdown(f"{settings_text(cell)}: {cell.when}; {cell.why}") for cell in content.dropped]
        ),
        _list("Notes", [markdown(note) for note in content.notes]),
        _list("Run", [f"{markdown(name)}: {markdown(value)}" for name, value in (*content.settings, *content.facts)]),
        ["Run it again:", "", *("    " + line for line in content.command.splitlines())],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _decided(content: ReportContent) -> list[str]:
    found = decision(content.cells, content.axes, key_columns(metric_columns(content)))
    return [markdown(f"{found.text} {found.doubt}")] if found else []


def _winners(content: ReportContent) -> list[str]:
    lines = []
    for column in metric_columns(content):
        for best in column.order[:1]:
            value, title = f"**{_entry(best, column)}**", markdown(column.metric.title)
            if column.is_level:
                lines.append(f"- No best {title}: {len(column.order)} cells are equal, {value}")
                continue
            near = [cell for cell in content.cells if cell.cell_id in column.rivals]
            said = ", ".join(markdown(cell_label(cell, content)) for cell in near[:_MAX_NEAR])
            more = f" and {len(near) - _MAX_NEAR} more" if len(near) > _MAX_NEAR else ""
            apart = f"; not told apart from it: {said}{more}" if near else ""
            doubts = "".join(f"; {doubt}" for doubt in column.doubts if not doubt.endswith("from it"))
            kind = "Best " if column.has_winner else "No best " if len(column.order) > 1 else ""
            lines.append(f"- {kind}{title}: {markdown(cell_label(best, content))}, {value}{doubts}{apart}")
    return lines if len(content.cells) > 1 else []


def _cells_table(content: ReportContent) -> list[str]:
    """A column a metric, the best in bold."""
    shown, columns = _shown(content), metric_columns(content)
    beaten = dominated(content.cells, content.metrics)
    headings = ["cell", *(axis.name for axis in content.axes), "images", "failed", *(one.heading for one in columns)]
    rows = [
        [
            markdown(cell.cell_id[:8]) + (" †" if cell.cell_id in beaten else ""),
            *_settings(cell, content),
            f"{cell.num_images:,}",
            f"{cell.num_failed:,}",
            *(_marked_entry(cell, column) for column in columns),
        ]
        for cell in shown
    ]
    rows += [
        [f"*{markdown(control.cell_id)}*", *[""] * len(content.axes), f"{control.num_images:,}", "",
         *(column.value_and_interval(control) for column in columns)]
        for control in content.controls
    ]  # fmt: skip
    cut = f"The best {len(shown)} of {len(content.cells)} cells." if len(shown) < len(content.cells) else ""
    legend = (
        "**Bold**: best. †: another cell is at least as good in all metrics, and it is told apart from the best of one."
        if beaten
        else ""
    )
    near = " ≈: not told apart from the best." if any(column.rivals for column in columns) else ""
    level = " =: equal in all cells." if any(column.is_level for column in columns) else ""
    below = " ".join(filter(None, (cut, (legend + near + level).strip())))
    return [*_table(headings, rows, 1 + len(content.axes)), *(["", below] if below else [])]


def _gaps_table(content: ReportContent) -> list[str]:
    """Differences from each metric's best cell; nothing where none was measured."""
    columns = [column for column in metric_columns(content) if column.gaps]
    if not columns:
        return []
    headings = ["cell", *(axis.name for axis in content.axes), *(column.metric.title for column in columns)]
    rows = [
        [markdown(cell.cell_id[:8]), *_settings(cell, content), *(_gap_entry(cell, column) for column in columns)]
        for cell in _shown(content)
    ]
    about = "Differences from the best cell, image by image, with their 95 % intervals:"
    return [about, "", *_table(headings, rows, 1 + len(content.axes))]


def _costs_table(content: ReportContent) -> list[str]:
    """What lossy settings gain and lose; nothing where no cell has any."""
    if not content.costs:
        return []
    table = costs_table(content)
    rows = [[cell, markdown(settings), *figures] for cell, settings, *figures in table.rows]
    alone = ["", NO_BASE] if any(cost.base is None for cost in content.costs) else []
    said = "Cost of lossy settings, against the same cell without them, image by image, with 95 % intervals; speed by "
    said += "the median image's time on the device:"
    return [said, "", *_table(table.headings, rows, table.num_left), *alone]


def _by_tables(content: ReportContent) -> list[list[str]]:
    """Figures by each column of the prompts that they were told by."""
    found = []
    for column, table in by_tables(content):
        rows = [[markdown(entry) for entry in row] for row in table.rows[:_MAX_CELLS]]
        cut = (
            f"The first {len(rows)} of {len(table.rows):,} rows; the page has all."
            if len(table.rows) > len(rows)
            else ""
        )
        about = f"By {markdown(column)}, with 95 % intervals and the number of images:"
        found.append([about, "", *_table(table.headings, rows, table.num_left), *(["", cut] if cut else [])])
    return found


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], num_left: int) -> list[str]:
    return markdown_table(Table([markdown(heading) for heading in headings], rows, num_left))


def _shown(content: ReportContent) -> list[CellResult]:
    chosen = {cell.cell_id for cell in order_all(content.cells, content.metrics)[:_MAX_CELLS]}
    return [cell for cell in content.cells if cell.cell_id in chosen]


def _settings(cell: CellResult, content: ReportContent) -> list[str]:
    return [markdown(setting_text(cell.settings[axis.name])) for axis in content.axes]


def _entry(cell: CellResult, column: MetricColumn) -> str:
    warning = " ⚠" if figure_of(cell, column.metric) and column.warnings(cell) else ""
    return column.value_and_interval(cell) + warning


def _marked_entry(cell: CellResult, column: MetricColumn) -> str:
    if column.is_level and cell.cell_id in column.best:
        return f"{_entry(cell, column)} ="
    entry = _entry(cell, column) + (" ≈" if cell.cell_id in column.rivals else "")
    return f"**{entry}**" if cell.cell_id in column.leaders else entry


def _gap_entry(cell: CellResult, column: MetricColumn) -> str:
    if cell.cell_id not in column.gaps:
        return "best" if cell.cell_id in column.best else ""
    return column.gap(cell) + (" ≈" if cell.cell_id in column.rivals else "")


def _warnings(content: ReportContent) -> list[str]:
    """Each once, with the cells whose figure it is about where those are not all."""
    return [
        f"⚠ {markdown(', '.join(each.titles))}{_only_of(each.cell_ids, content)}: {markdown(each.text)}"
        for each in warnings(content)
    ]


def _only_of(cells: Sequence[str], content: ReportContent) -> str:
    if len(cells) == len(content.cells):
        return ""
    named = ", ".join(cell_id[:8] for cell_id in cells[:_MAX_NEAR])
    more = f" and {len(cells) - _MAX_NEAR} more cells" if len(cells) > _MAX_NEAR else ""
    return f" of {named}{more}"


def _failures(content: ReportContent) -> list[str]:
    total = sum(cell.num_failed for cell in content.cells)
    lines = [
        f"{markdown(failure.status)}: {markdown(failure.prompt or '(empty)')}: {markdown(failure.reason)}"
        for failure in content.failures[:_MAX_FAILURES]
    ]
    return [f"{total:,} in all", *lines] if total or lines else []


def _list(heading: str, lines: Sequence[str]) -> list[str]:
    return [f"{heading}:", "", *(f"- {line}" for line in lines)] if lines else []


def markdown(text: str) -> str:
    """One line of text that Markdown, GitHub's too, shows as it stands: no HTML, table border, mention or link."""
    return _MARKDOWN_SIGNS.sub(_escaped, " ".join(text.split()))


def _escaped(found: re.Match[str]) -> str:
    """A sign of Markdown as an entity; what GitHub makes a link is broken by a space that does not show."""
    sign = found.group()
    if found.lastgroup == "link":
        return f"{sign[:-1]}{_ZERO_WIDTH}{sign[-1]}"
    return f"{sign}{_ZERO_WIDTH}" if found.lastgroup == "mention" else f"&#{ord(sign)};"
