"""The page's sections, as far as they are text; where a script draws, an empty place for it. Knows no files."""

from collections import Counter
from collections.abc import Iterable, Sequence

from darkroom.metrics.figures import Metric
from darkroom.metrics.tables import Table, html_table, setting_text
from darkroom.reporting.cell_table import cell_table
from darkroom.reporting.content import CellResult, DroppedCell, ReportContent
from darkroom.reporting.cost_text import NO_BASE, cost_headings, cost_rows
from darkroom.reporting.markup import Markup, element, join
from darkroom.reporting.numbers import interval_text, metric_decimals, value_text
from darkroom.reporting.payload import cell_label
from darkroom.reporting.ranking import dominated, figure_of, order_by, rivals

_DIGEST_SHOWN = 19  # characters


def sections(content: ReportContent) -> list[tuple[str, str, Markup]]:
    """Anchor, heading and content of each section that has something to say, in reading order."""
    several = [axis for axis in content.axes if len({cell.settings[axis.name] for cell in content.cells}) > 1]
    has_figures = any(cell.figures for cell in content.cells)
    has_failures = bool(content.failures or any(cell.num_failed for cell in content.cells))
    every = [
        ("glance", "At a glance", _glance(content), True),
        ("run", "Run", _run(content), True),
        ("cells", "Cells", _cells(content), True),
        ("costs", "Cost of speed", _costs(content), bool(content.costs)),
        ("tradeoff", "Trade-off", _plot("tradeoff"), has_figures and len(content.metrics) > 1 and bool(several)),
        ("heatmap", "Heat map", _plot("heatmap"), has_figures and len(several) > 1),
        ("along", "Curves", _plot("along"), has_figures and bool(several)),
        ("scores", "Scores", _plot("scores"), any(map(len, content.scores.values()))),
        ("breakdown", "Prompts", _plot("breakdown"), bool(content.breakdown)),
        ("sheet", "Contact sheet", _place("sheet"), bool(content.pictures)),
        ("picks", "Picks", _place("picks"), any(vars(content.picks).values())),
        ("failed", "Failures", _failures(content), has_failures),
        ("dropped", "Dropped", _dropped(content.dropped), bool(content.dropped)),
        ("methods", "Methods", _methods(content), bool(content.metrics)),
    ]
    return [(anchor, heading, body) for anchor, heading, body, is_shown in every if is_shown]


def _place(name: str) -> Markup:
    return element("div", {"id": f"{name}-place"})


def _plot(name: str) -> Markup:
    return join(
        element("div", {"class": "choosers", "id": f"{name}-choosers"}),
        element(
            "div", {"class": "plot", "id": f"{name}-plot", "role": "img", "aria-label": "Plot of the table's figures"}
        ),
        element("p", {"class": "quiet", "id": f"{name}-note"}),
    )


def _glance(content: ReportContent) -> Markup:
    cards = [_winner(metric, content) for metric in content.metrics if order_by(content.cells, metric)]
    images = sum(cell.num_images for cell in content.cells)
    failed = sum(cell.num_failed for cell in content.cells)
    beaten = len(dominated(content.cells, content.metrics))
    counts = f"{len(content.cells):,} {'cell' if len(content.cells) == 1 else 'cells'}, {images:,} images"
    left = f"{len(content.cells) - beaten} cells are not beaten by another one" if beaten else ""
    details = [f"{failed:,} failed or filtered" if failed else "none failed", left]
    return element("div", {"class": "cards"}, _card("Rendered", counts, details), *cards)


def _winner(metric: Metric, content: ReportContent) -> Markup:
    best = order_by(content.cells, metric)[0]
    figure = best.figures[metric.name]
    places = metric_decimals(metric, content.cells)
    near = len(rivals(content.cells, metric))
    interval = interval_text(figure, places)
    value = value_text(figure.value, places) + (f" ({interval})" if interval else "")
    overlap = f"{near} other {'cell is' if near == 1 else 'cells are'} not told apart from it" if near else ""
    heading = f"Best {metric.title}" if len(content.cells) > 1 else metric.title
    settings = ", ".join(f"{axis.name} {setting_text(best.settings[axis.name])}" for axis in content.axes)
    return _card(heading, cell_label(best, content), [settings, value, overlap], best)


def _card(heading: str, text: str, details: Iterable[str], cell: CellResult | None = None) -> Markup:
    shown = element("strong", {}, text)
    if cell is not None:
        attributes = {"type": "button", "class": "cell-name", "data-cell": cell.cell_id, "title": cell.cell_id}
        shown = element("button", attributes, text)
    lines = [element("span", {"class": "quiet"}, line) for line in details if line]
    return element("div", {"class": "card"}, element("h3", {}, heading), shown, *lines)


def _run(content: ReportContent) -> Markup:
    facts = [element("div", {}, element("dt", {}, name), element("dd", {}, value)) for name, value in content.facts]
    notes = [element("li", {}, note) for note in content.notes]
    return join(
        element("dl", {"class": "facts"}, *facts),
        element("h3", {}, "Run it again"),
        _command(content.command),
        element("h3", {}, "What this page is made of") if notes else "",
        element("ul", {"id": "notes"}, *notes) if notes else "",
    )


def _command(command: str) -> Markup:
    copy = element("button", {"type": "button", "class": "copy"}, "Copy")
    return element("div", {"class": "command"}, element("pre", {}, element("code", {}, command)), copy)


def _cells(content: ReportContent) -> Markup:
    legend = (
        "★ best; ↑ higher and ↓ lower is better. Δ: difference from the best, image by image, with its 95 % interval. "
        "≈ not told apart from the best: Δ's interval holds 0, or where there is no Δ, the two intervals overlap. "
    )
    beaten = "Grey cells are beaten: another one is at least as good in all metrics and better in one. "
    chosen = "Press a cell to choose it: heat map, contact sheet and prompts take what they hold equal from it."
    hide = element("label", {}, element("input", {"type": "checkbox", "id": "hide-dominated"}), " Hide grey cells")
    has_beaten = bool(dominated(content.cells, content.metrics))
    shown = ((legend, content.metrics), (beaten, has_beaten), (chosen, content.axes))
    texts = [text for text, is_shown in shown if is_shown]
    return join(
        element("p", {"class": "quiet"}, *texts),
        element("p", {}, hide) if has_beaten else "",
        element(
            "div", {"class": "wide", "tabindex": "0", "role": "region", "aria-label": "Cells"}, cell_table(content)
        ),
        _warnings(content),
    )


def _warnings(content: ReportContent) -> Markup:
    """Each warning once, with the number of cells that it is about."""
    counts: Counter[tuple[str, str]] = Counter()
    for cell in content.cells:
        for metric in content.metrics:
            figure = cell.figures.get(metric.name)
            counts.update((metric.title, text) for text in dict.fromkeys(figure.warnings if figure else ()))
    lines = [f"⚠ {title}: {text} ({count} of {len(content.cells)} cells)" for (title, text), count in counts.items()]
    lines += [_unequal(metric) for metric in content.metrics if _num_images_differ(metric, content.cells)]
    return element("ul", {"class": "warnings"}, *(element("li", {}, line) for line in lines)) if lines else Markup("")


def _unequal(metric: Metric) -> str:
    return f"⚠ {metric.title}: cells have different numbers of images; a metric that depends on it is not comparable"


def _num_images_differ(metric: Metric, cells: Sequence[CellResult]) -> bool:
    return len({figure.num_images for cell in cells if (figure := figure_of(cell, metric))}) > 1


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    return element("div", {"class": "wide"}, Markup(html_table(Table(headings, rows, num_left=len(headings)))))


def _costs(content: ReportContent) -> Markup:
    text = "Against the cell that is the same without these settings, image by image, with 95 % intervals; "
    text += "speed by the median image's time on the device. "
    alone = f"{NO_BASE} " if any(cost.base is None for cost in content.costs) else ""
    return join(
        element("p", {"class": "quiet"}, text, alone),
        _table(cost_headings(content), cost_rows(content)),
    )


def _failures(content: ReportContent) -> Markup:
    labels = {cell.cell_id: cell_label(cell, content) for cell in content.cells}
    total = sum(cell.num_failed for cell in content.cells)
    count = f"{total:,} failed or filtered in all, {len(content.failures):,} of them listed."
    rows = [
        (_opener(index, failure.prompt), labels.get(failure.cell_id, failure.cell_id), failure.status, failure.reason)
        for index, failure in enumerate(content.failures)
    ]
    return join(element("p", {"class": "quiet"}, count), _table(("prompt", "cell", "status", "reason"), rows))


def _opener(index: int, prompt: str) -> Markup:
    return element("button", {"type": "button", "class": "link", "data-failure": str(index)}, prompt or "(empty)")


def _dropped(dropped: Sequence[DroppedCell]) -> Markup:
    rows = [
        (cell.cell_id[:8], ", ".join(f"{name}={setting_text(value)}" for name, value in cell.settings.items()),
         cell.when, cell.why)
        for cell in dropped
    ]  # fmt: skip
    text = "Early choice did not render these cells to their end, so they have no figures here."
    return join(element("p", {"class": "quiet"}, text), _table(("cell", "settings", "when", "why"), rows))


def _methods(content: ReportContent) -> Markup:
    fields = ("title", "convention", "interval", "extractor", "weights", "resize", "reference")
    shown = [name for name in fields if any(getattr(metric, name) for metric in content.metrics)]
    headings = [{"title": "metric", "weights": "weights digest"}.get(name, name) for name in shown]
    return _table(headings, [[_method(metric, name) for name in shown] for metric in content.metrics])


def _method(metric: Metric, name: str) -> str:
    """A digest by its beginning: whoever points at it, or opens metrics.parquet, sees all of it."""
    text = getattr(metric, name)
    if name != "weights" or len(text) <= _DIGEST_SHOWN:
        return text
    return element("span", {"title": text}, f"{text[:_DIGEST_SHOWN]}…")
