"""index.html: the content in the words and tables of `templates/index.html`, with the data that scripts draw from.

The template's engine escapes all text, wherever it comes from. The page opens from a disk or a static bucket without a
network: scripts and styles lie beside it, data inside it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from darkroom.evaluation.figures import Metric
from darkroom.evaluation.tables import Table, html_table, setting_text
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
from darkroom.reporting.content import Axis, ReportContent
from darkroom.reporting.data import edit_name, payload
from darkroom.reporting.decision import decision, key_columns, why_these
from darkroom.reporting.exports import CSV, LATEX, csv_table, latex_table
from darkroom.reporting.grid_image import GRID
from darkroom.reporting.ranking import dominated, figure_of

PLOTLY = "plotly.min.js"
SCRIPTS = ("report.js", "cells.js", "plots.js", "pictures.js", "sheet.js", "forming.js")  # in this order, after Plotly
STYLE, PROMPTS_STYLE = "report.css", "found.css"
PROMPTS_PAGE_STYLE = "prompts.css"  # of the page of prompts alone
# Scripts come from files beside the page alone: nothing written in it can run. A page on a disk has no origin of its
# own, so "self" alone would not do everywhere. Plotly writes style elements and draws to blobs.
_POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file: 'unsafe-inline'; "
    "img-src 'self' file: data: blob:; media-src 'self' file:; base-uri 'none'; form-action 'none'"
)
_DIGEST_SHOWN = 19  # characters
_BREAK = re.compile(r"(?<=[>}])\s*\n\s*|\s*\n\s*(?=[<{])")  # of a line, beside a tag: a blank there would show


def page(content: ReportContent, thumbnails: Mapping[str, str]) -> str:
    """index.html; `thumbnails`: image_id -> path relative to it."""
    columns = metric_columns(content)
    keys = key_columns(columns)
    return _template().render(
        content=content,
        headings=_headings(content, sum(bool(column.order) for column in columns)),
        axes_words=_axes_words(content),
        images_words=_images_words(content),
        columns=columns,
        decided=decision(content.cells, content.axes, keys),
        cards=[_card(column, content) for column in keys],
        why_these=why_these(keys, columns) if len(content.cells) > 1 else "",
        beaten=dominated(content.cells, content.metrics),
        warnings=_warnings(content),
        num_failed=sum(cell.num_failed for cell in content.cells),
        csv=CSV,
        latex=LATEX,
        grid=GRID if content.grid else None,
        csv_text=csv_table(content),
        latex_text=latex_table(content),
        prompts=_prompts(content.prompts.found, content.prompts.extra) if content.prompts else "",
        prompts_words=_prompts_words(content.prompts.found) if content.prompts else "",
        data=payload(content, thumbnails),
    )


@cache
def _template() -> Template:
    engine = Environment(autoescape=True, undefined=StrictUndefined)
    engine.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    engine.globals.update(
        policy=_POLICY, styles=(STYLE, PROMPTS_STYLE), scripts=(PLOTLY, *SCRIPTS), no_base=NO_BASE,
        setting_text=setting_text, figure_of=figure_of, table=_table, by_tables=by_tables, costs_table=costs_table,
        figures_table=_figures_table, failures_table=_failures_table, policy_table=_policy_table,
        dropped_table=_dropped_table, methods_table=_methods_table, edit_name=edit_name, cell_label=_label,
    )  # fmt: skip
    source = (files("darkroom.reporting") / "templates" / "index.html").read_text("utf-8")
    return engine.from_string(_BREAK.sub("", source))


def _headings(content: ReportContent, num_ranking: int) -> dict[str, str]:
    """Anchor -> heading of each section that has something to say, in reading order: what is decided, then pictures.

    Plots are of the metrics that rank cells: `num_ranking` of them.
    """
    several = _varied(content)
    has_figures = any(cell.figures for cell in content.cells)
    has_failures = bool(content.failures or any(cell.num_failed for cell in content.cells))
    is_sweep = len(content.cells) > 1
    sections = [
        ("glance", "Which setting", is_sweep and has_figures),
        ("sheet", "Contact sheet" if is_sweep else "Images", bool(content.pictures)),
        ("edits", "Made from pictures", bool(content.edits)),
        ("figures", "Figures", has_figures and not is_sweep),
        ("picks", "Best and worst images", any(vars(content.picks).values())),
        ("forming", "How the picture forms", content.forming is not None),
        ("cells", "Cells", is_sweep),
        ("costs", "Cost of lossy settings", bool(content.costs)),
        ("tradeoff", "Trade-off", num_ranking > 1 and bool(several)),
        ("heatmap", "Heat map", num_ranking > 0 and len(several) > 1),
        ("along", "Curves", num_ranking > 0 and bool(several)),
        ("scores", "Scores", any(map(len, content.scores.values()))),
        ("breakdown", "Prompts", bool(content.breakdown)),
        ("prompts", "What prompts are like", content.prompts is not None),
        ("by", "Figures by column", bool(content.by)),
        ("failed", "Failures", has_failures),
        ("policy", "Policy", bool(content.acceptances)),
        ("dropped", "Dropped", bool(content.dropped)),
        ("run", "Run", True),
        ("methods", "Methods", bool(content.metrics)),
    ]
    return {anchor: heading for anchor, heading, is_shown in sections if is_shown}


def prompts_page(name: str, found: Mapping[str, Any], extra: str) -> str:
    """A page of its own, with its styles, of what `prompts.preflight` found; `extra`: what installs its packages."""
    style = Markup("".join(_asset(name) for name in (PROMPTS_PAGE_STYLE, PROMPTS_STYLE)))
    return _plain("prompts.html").render(name=name, found=found, said=_prompts(found, extra), style=style)


def _prompts(found: Mapping[str, Any], extra: str) -> Markup:
    """The sections that both pages have."""
    return Markup(_plain("prompts_found.html").render(found=found, glance=_glance(found), extra=extra))


def _plain(name: str) -> Template:
    engine = Environment(autoescape=True, undefined=StrictUndefined)
    return engine.from_string((files("darkroom.reporting") / "templates" / name).read_text("utf-8"))


def _asset(name: str) -> str:
    return (files("darkroom.reporting") / "assets" / name).read_text("utf-8")


def _prompts_words(found: Mapping[str, Any]) -> str:
    """Such as "1,632 prompts; cut off by CLIP: 3; repeats: 0"."""
    counts = "; ".join(f"{words}: {count}" for words, count, _, _ in _glance(found))
    return f"{found['num_looked_at']:,} prompts; {counts}"


def _glance(found: Mapping[str, Any]) -> list[tuple[str, str, str, bool]]:
    """Of each question what it is, the count, its share, and whether it may cost images."""
    counts = [(f"cut off by {each['encoder']}", each["num_truncated"]) for each in found["lengths"]]
    counts.append(("repeats", found["repeats"]["num_rows"]))
    counts += [("nearly the same", found["near_repeats"]["num_rows"])] if found["near_repeats"] else []
    counts += [("with words of the list", found["words"]["num_rows"])] if found["words"] else []
    looked_at = max(1, found["num_looked_at"])
    return [(words, f"{count:,}", f"{count / looked_at:.1%} of the prompts", count > 0) for words, count in counts]


# In words ----------------------------------------------------------------------------------------------------------


def _varied(content: ReportContent) -> list[Axis]:
    """Axes along which the cells that are shown differ."""
    return [axis for axis in content.axes if len({cell.settings[axis.name] for cell in content.cells}) > 1]


def _axes_words(content: ReportContent) -> list[tuple[str, str]]:
    """Each axis with its values, such as ("guidance_scale", "1.5, 3, 5")."""
    return [(axis.name, ", ".join(map(setting_text, axis.values))) for axis in _varied(content)]


def _images_words(content: ReportContent) -> str:
    """Such as "45 cells, 540 images, none failed"."""
    images = sum(cell.num_images for cell in content.cells)
    failed = sum(cell.num_failed for cell in content.cells)
    cells = f"{len(content.cells):,} cells, " if len(content.cells) > 1 else ""
    return (
        f"{cells}{images:,} {_plural('image', images)}, {f'{failed:,} failed or filtered' if failed else 'none failed'}"
    )


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


@dataclass(frozen=True)
class _Card:
    """What one metric says."""

    heading: str
    figure: str
    interval: str
    cells: Sequence[tuple[str, str]]  # (cell_id, label) of those that share the best
    lines: Sequence[str]  # doubts
    tied: str = ""  # metric's name, where pressing shows the cells that are not told apart


_MOST_ON_CARD = 3  # cells that share the best


def _card(column: MetricColumn, content: ReportContent) -> _Card:
    first = column.order[0]
    words = column.value(first), column.interval(first)
    title = column.heading
    tied = column.metric.name if column.rivals or len(column.best) > _MOST_ON_CARD else ""
    if len(column.order) == 1:
        return _Card(title, *words, [(first.cell_id, cell_label(first, content))], ())
    if column.is_level:
        return _Card(f"No best {title}", *words, (), [f"{len(column.order)} cells are equal"])
    best = [(cell.cell_id, cell_label(cell, content)) for cell in column.order if cell.cell_id in column.best]
    shared = [f"{len(best)} cells share it"] if len(best) > 1 else []
    doubts = [doubt for doubt in column.doubts if not doubt.endswith("equal")]
    if not column.has_winner:
        end = "highest" if column.metric.higher_is_better else "lowest"
        return _Card(f"No best {title}", *words, (), [f"{end}: {cell_label(first, content)}", *doubts], tied)
    return _Card(f"Best {title}", *words, best[:_MOST_ON_CARD], [*shared, *doubts], tied)


# Tables ------------------------------------------------------------------------------------------------------------


def _warnings(content: ReportContent) -> list[str]:
    """Each warning once, with its metrics and the number of cells that it is about."""
    num_cells = len(content.cells)
    lines = [
        f"{', '.join(each.titles)}: {each.text}"
        + (f" ({len(each.cell_ids)} of {num_cells} cells)" if num_cells > 1 else "")
        for each in warnings(content)
    ]
    uneven = [
        metric.title
        for metric in content.metrics
        if len({figure.num_images for cell in content.cells if (figure := figure_of(cell, metric))}) > 1
    ]
    said = "cells have different numbers of images; a metric that depends on it is not comparable"
    return [*lines, *([f"{', '.join(uneven)}: {said}"] if uneven else [])]


def _label(content: ReportContent, cell_id: str) -> str:
    """What a cell is called, where there are several."""
    cells = {cell.cell_id: cell for cell in content.cells}
    return cell_label(cells[cell_id], content) if len(cells) > 1 else ""


def _table(table: Table) -> Markup:
    """All of its columns as text."""
    written = html_table(replace(table, num_left=len(table.headings)))
    return Markup('<div class="wide">{}</div>').format(Markup(written))


def _figures_table(content: ReportContent) -> Table:
    """Of a run with one cell: a row a metric."""
    [cell] = content.cells
    known = [column for column in metric_columns(content) if column.metric.name in cell.figures]
    rows = [
        [column.heading, column.value(cell), column.interval(cell), f"{cell.figures[column.metric.name].num_images:,}"]
        for column in known
    ]
    return Table(("metric", "figure", "95 % interval", "images"), rows)


def _failures_table(content: ReportContent) -> Table:
    labels = {cell.cell_id: cell_label(cell, content) for cell in content.cells}
    opener = Markup('<button type="button" class="link" data-failure="{}">{}</button>')
    rows = [
        [opener.format(place, failure.prompt or "(empty)"), labels.get(failure.cell_id, failure.cell_id),
         failure.status, failure.reason]
        for place, failure in enumerate(content.failures)
    ]  # fmt: skip
    return Table(("prompt", "cell", "status", "reason"), rows)


def _policy_table(content: ReportContent) -> Table:
    """A row a cell."""
    labels = {cell.cell_id: cell_label(cell, content) for cell in content.cells}
    rows = [
        [
            labels[each.cell_id],
            f"{each.num_accepted:,}",
            f"{each.num_made:,}",
            f"{100 * each.num_accepted / each.num_made:.1f} %" if each.num_made else "",
            f"{each.num_without:,}",
            "; ".join(f"{count:,} x {why}" for why, count in each.why.items()),
        ]
        for each in content.acceptances
    ]
    return Table(("cell", "accepted", "made", "share", "without image", "why"), rows)


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
