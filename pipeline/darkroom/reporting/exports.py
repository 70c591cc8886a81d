"""The table of cells as files to go on with: CSV for a spreadsheet, LaTeX for a paper."""

import csv
import io
import re
from collections.abc import Iterator, Sequence

from darkroom.evaluation.tables import setting_text
from darkroom.reporting.columns import MetricColumn, metric_columns
from darkroom.reporting.content import CellResult, ReportContent
from darkroom.reporting.ranking import figure_of

CSV, LATEX = "table.csv", "table.tex"
_LATEX_SIGNS = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "∞": r"$\infty$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "[": "{[}", "*": "{*}", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip
_LATEX_SIGN = re.compile("|".join(map(re.escape, _LATEX_SIGNS)))


def csv_table(content: ReportContent) -> str:
    """A row a cell: its settings on the axes, then of each metric the figure, its interval and number of images, and
    the difference from the best cell with its interval, with all digits.

    `standing` is best, tied (not told apart from the best) or empty.
    """
    columns = metric_columns(content)
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    parts = ("", ".low", ".high", ".num_images", ".difference", ".difference_low", ".difference_high", ".standing")
    names = [f"{column.metric.name}{part}" for column in columns for part in parts]
    writer.writerow(["cell_id", *(axis.name for axis in content.axes), "num_images", "num_failed", *names])
    for cell in content.cells:
        settings = [cell.settings[axis.name] for axis in content.axes]
        entries = [entry for column in columns for entry in _csv_entries(cell, column)]
        writer.writerow([cell.cell_id, *settings, cell.num_images, cell.num_failed, *entries])
    return written.getvalue()


def _csv_entries(cell: CellResult, column: MetricColumn) -> Sequence[object]:
    """None is an empty field."""
    figure, gap = figure_of(cell, column.metric), column.gaps.get(cell.cell_id)
    is_best, is_tied = cell.cell_id in column.leaders, cell.cell_id in column.rivals
    return (
        *((figure.value, figure.low, figure.high, figure.num_images) if figure else (None,) * 4),
        *((gap.difference, gap.low, gap.high) if gap else (None,) * 3),
        "best" if is_best else "tied" if is_tied else None,
    )


def latex_table(content: ReportContent) -> str:
    """A row a cell, a column a metric, by the package booktabs: the best in bold, what is not told apart from it so
    marked, intervals small beside their figures."""
    columns = [
        column for column in metric_columns(content) if any(figure_of(cell, column.metric) for cell in content.cells)
    ]
    names = [axis.name for axis in content.axes] or ["cell"]
    headings = [*map(latex, names), *(latex(column.heading) for column in columns)]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering\small",
            f"  \\caption{{{latex(content.title)}. {_legend(columns)}}}",
            f"  \\begin{{tabular}}{{{'l' * len(names)}{'r' * len(columns)}}}",
            r"    \toprule",
            f"    {' & '.join(headings)} \\\\",
            r"    \midrule",
            *(f"    {' & '.join(_latex_entries(cell, content, columns))} \\\\" for cell in content.cells),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def latex(text: str) -> str:
    """Text as LaTeX prints it as it stands, in one line: a [ or * after a row's end would be its argument."""
    return _LATEX_SIGN.sub(lambda found: _LATEX_SIGNS[found[0]], " ".join(text.split()))


def _legend(columns: Sequence[MetricColumn]) -> str:
    said = []
    if any(column.interval(cell) for column in columns for cell in column.cells):
        said.append(r"In brackets 95\,\% intervals.")
    if any(column.leaders for column in columns):
        said.append("Bold: best of its column.")
    if any(column.rivals for column in columns):
        said.append(r"$\approx$: not told apart from the best.")
    return " ".join(said)


def _latex_entries(cell: CellResult, content: ReportContent, columns: Sequence[MetricColumn]) -> Iterator[str]:
    if content.axes:
        yield from (latex(setting_text(cell.settings[axis.name])) for axis in content.axes)
    else:
        yield latex(cell.cell_id[:8])
    for column in columns:
        value, interval = column.value(cell), column.interval(cell)
        value = rf"\textbf{{{value}}}" if cell.cell_id in column.leaders else value
        near = r"\,$\approx$" if cell.cell_id in column.rivals else ""
        yield value + near + (rf" {{\tiny [{interval.replace(' – ', ', ')}]}}" if interval else "")
