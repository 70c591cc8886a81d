"""index.html: the content in the words and tables of `templates/index.html`, with the data that scripts draw from.

The template's engine escapes all text, wherever it comes from. The page opens from a disk or a static bucket without a
network: scripts and styles lie beside it, data inside it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from darkroom.evaluation.figures import Metric
from darkroom.evaluation.tables import Table, html_table, setting_text
from darkroom.reporting.columns import (
    NO_BASE,
    MetricColumn,
    cell_label,
    costs_table,
    metric_columns,
    settings_text,
    warnings,
)
from darkroom.reporting.content import ReportContent
from darkroom.reporting.data import payload
from darkroom.reporting.ranking import dominated, figure_of

PLOTLY = "plotly.min.js"
SCRIPTS = ("report.js", "plots.js", "pictures.js")  # in this order, after Plotly
STYLE = "report.css"
# Scripts come from files beside the page alone: nothing written in it can run. A page on a disk has no origin of its
# own, so "self" alone would not do everywhere. Plotly writes style elements and draws to blobs.
_POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file: 'unsafe-inline'; "
    "img-src 'self' file: data: blob:; base-uri 'none'; form-action 'none'"
)
_DIGEST_SHOWN = 19  # characters
_BREAK = re.compile(r"(?<=[>}])\s*\n\s*|\s*\n\s*(?=[<{])")  # of a line, beside a tag: a blank there would show


def page(content: ReportContent, thumbnails: Mapping[str, str]) -> str:
    """index.html; `thumbnails`: image_id -> path relative to it."""
    columns = metric_columns(content)
    return _template().render(
        content=content,
        headings=_headings(content),
        columns=columns,
        cards=[_rendered(content), *(_winner(column, content) for column in columns if column.order)],
        beaten=dominated(content.cells, content.metrics),
        warnings=_warnings(content),
        num_failed=sum(cell.num_failed for cell in content.cells),
        data=payload(content, thumbnails),
    )


@cache
def _template() -> Template:
    engine = Environment(autoescape=True, undefined=StrictUndefined)
    engine.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    engine.globals.update(
        policy=_POLICY, style=STYLE, scripts=(PLOTLY, *SCRIPTS), no_base=NO_BASE, setting_text=setting_text,
        figure_of=figure_of, table=_table, costs_table=costs_table, failures_table=_failures_table,
        dropped_table=_dropped_table, methods_table=_methods_table,
    )  # fmt: skip
    source = (files("darkroom.reporting") / "templates" / "index.html").read_text("utf-8")
    return engine.from_string(_BREAK.sub("", source))


def _headings(content: ReportContent) -> dict[str, str]:
    """Anchor -> heading of each section that has something to say, in reading order."""
    several = [axis for axis in content.axes if len({cell.settings[axis.name] for cell in content.cells}) > 1]
    has_figures = any(cell.figures for cell in content.cells)
    has_failures = bool(content.failures or any(cell.num_failed for cell in content.cells))
    sections = [
        ("glance", "At a glance", True),
        ("run", "Run", True),
        ("cells", "Cells", True),
        ("costs", "Cost of lossy settings", bool(content.costs)),
        ("tradeoff", "Trade-off", has_figures and len(content.metrics) > 1 and bool(several)),
        ("heatmap", "Heat map", has_figures and len(several) > 1),
        ("along", "Curves", has_figures and bool(several)),
        ("scores", "Scores", any(map(len, content.scores.values()))),
        ("breakdown", "Prompts", bool(content.breakdown)),
        ("sheet", "Contact sheet", bool(content.pictures)),
        ("picks", "Picks", any(vars(content.picks).values())),
        ("failed", "Failures", has_failures),
        ("dropped", "Dropped", bool(content.dropped)),
        ("methods", "Methods", bool(content.metrics)),
    ]
    return {anchor: heading for anchor, heading, is_shown in sections if is_shown}


# At a glance -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Card:
    heading: str
    text: str
    details: Sequence[str]  # lines; empty ones are left out
    cell_id: str | None = None  # that pressing the text chooses


def _rendered(content: ReportContent) -> _Card:
    images = sum(cell.num_images for cell in content.cells)
    failed = sum(cell.num_failed for cell in content.cells)
    beaten = len(dominated(content.cells, content.metrics))
    counts = f"{len(content.cells):,} {'cell' if len(content.cells) == 1 else 'cells'}, {images:,} images"
    left = f"{len(content.cells) - beaten} cells are not beaten by another one" if beaten else ""
    return _Card("Rendered", counts, [f"{failed:,} failed or filtered" if failed else "none failed", left])


def _winner(column: MetricColumn, content: ReportContent) -> _Card:
    best, title, figure = column.order[0], column.metric.title, column.value_and_interval(column.order[0])
    settings = ", ".join(f"{axis.name} {setting_text(best.settings[axis.name])}" for axis in content.axes)
    if len(column.order) == 1:
        return _Card(title, cell_label(best, content), [settings, figure], best.cell_id)
    if column.is_level:
        return _Card(title, "No best", [f"{len(column.order)} cells are equal", figure])
    if not column.has_winner:
        end = "highest" if column.metric.higher_is_better else "lowest"
        return _Card(title, "No best", [f"{end}: {settings}", figure, *column.doubts])
    return _Card(f"Best {title}", cell_label(best, content), [settings, figure, *column.doubts], best.cell_id)


# Tables ------------------------------------------------------------------------------------------------------------


def _warnings(content: ReportContent) -> list[str]:
    """Each warning once, with the number of cells that it is about."""
    lines = [
        f"{title}: {text} ({len(cells)} of {len(content.cells)} cells)"
        for (title, text), cells in warnings(content).items()
    ]
    for metric in content.metrics:
        if len({figure.num_images for cell in content.cells if (figure := figure_of(cell, metric))}) > 1:
            lines.append(
                f"{metric.title}: cells have different numbers of images; a metric that depends on it is not comparable"
            )
    return lines


def _table(table: Table) -> Markup:
    """All of its columns as text."""
    written = html_table(replace(table, num_left=len(table.headings)))
    return Markup('<div class="wide">{}</div>').format(Markup(written))


def _failures_table(content: ReportContent) -> Table:
    labels = {cell.cell_id: cell_label(cell, content) for cell in content.cells}
    opener = Markup('<button type="button" class="link" data-failure="{}">{}</button>')
    rows = [
        [opener.format(place, failure.prompt or "(empty)"), labels.get(failure.cell_id, failure.cell_id),
         failure.status, failure.reason]
        for place, failure in enumerate(content.failures)
    ]  # fmt: skip
    return Table(("prompt", "cell", "status", "reason"), rows)


def _dropped_table(content: ReportContent) -> Table:
    rows = [[cell.cell_id[:8], settings_text(cell), cell.when, cell.why] for cell in content.dropped]
    return Table(("cell", "settings", "when", "why"), rows)


def _methods_table(content: ReportContent) -> Table:
    fields = ("title", "convention", "interval", "extractor", "weights", "resize", "reference")
    shown = [name for name in fields if any(getattr(metric, name) for metric in content.metrics)]
    headings = [{"title": "metric", "weights": "weights digest"}.get(name, name) for name in shown]
    return Table(headings, [[_method(metric, name) for name in shown] for metric in content.metrics])


def _method(metric: Metric, name: str) -> str:
    """A digest by its beginning: whoever points at it, or opens metrics.parquet, sees all of it."""
    text = str(getattr(metric, name))
    if name != "weights" or len(text) <= _DIGEST_SHOWN:
        return text
    return Markup('<span title="{}">{}…</span>').format(text, text[:_DIGEST_SHOWN])
