"""The report's folder: index.html, what it needs beside it, report.md and metrics.parquet.

It opens from a disk or a static bucket without a network: scripts and styles lie beside the page, data inside it. Knows
what a section is, not what is in it.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import pyarrow.parquet as pq
from plotly.offline import get_plotlyjs

from pipeline.report.checks import check
from pipeline.report.content import Picture, ReportContent
from pipeline.report.markup import Markup, element, join, json_for_script
from pipeline.report.payload import payload
from pipeline.report.sections import sections
from pipeline.report.summary import summary
from pipeline.report.tables import metrics_table

_PLOTLY = "plotly.min.js"
_SCRIPTS = ("report.js", "plots.js", "pictures.js")  # in this order, after Plotly
_STYLE = "report.css"
INDEX = "index.html"
THUMBNAILS = "thumbnails"
_MAGIC = {b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"\x89PNG": ".png"}
# Scripts come from files beside the page alone: nothing written in it can run. A page on a disk has no origin of its
# own, so "self" alone would not do everywhere. Plotly writes style elements and draws to blobs.
_POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file: 'unsafe-inline'; "
    "img-src 'self' file: data: blob:; base-uri 'none'; form-action 'none'"
)


def write_report(content: ReportContent, folder: Path) -> Path:
    """Writes the report, over one that may be there, and returns the path of its index.html.

    Raises DarkroomError where the content does not fit together, before anything is written.
    """
    check(content)
    folder.mkdir(parents=True, exist_ok=True)
    thumbnails = _write_thumbnails(content.pictures, folder)
    pq.write_table(metrics_table(content), folder / "metrics.parquet")
    (folder / "report.md").write_text(summary(content), encoding="utf-8", errors="replace")
    (folder / _PLOTLY).write_text(get_plotlyjs(), encoding="utf-8")
    for name in (*_SCRIPTS, _STYLE):
        (folder / name).write_bytes((files("pipeline.report") / "assets" / name).read_bytes())
    index = folder / INDEX
    index.write_text(page(content, thumbnails), encoding="utf-8", errors="replace")
    return index


def page(content: ReportContent, thumbnails: Mapping[str, str]) -> str:
    """index.html; `thumbnails`: image_id -> path relative to it."""
    shown = sections(content)
    data = element("script", {"type": "application/json", "id": "data"}, json_for_script(payload(content, thumbnails)))
    head = element("head", {}, *_head(content.title))
    body = element("body", {}, _top(content.title, shown), _main(shown), element("dialog", {"id": "picture"}), data)
    return "<!doctype html>\n" + element("html", {"lang": "en"}, head, body) + "\n"


def _head(title: str) -> list[Markup]:
    return [
        element("meta", {"charset": "utf-8"}),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "color-scheme", "content": "light dark"}),
        element("title", {}, title),
        element("link", {"rel": "stylesheet", "href": _STYLE}),
        *(element("script", {"src": name, "defer": ""}) for name in (_PLOTLY, *_SCRIPTS)),
    ]


def _top(title: str, shown: list[tuple[str, str, Markup]]) -> Markup:
    links = [element("a", {"href": f"#{anchor}"}, heading) for anchor, heading, _ in shown]
    skip = element("a", {"href": "#main", "class": "skip"}, "Skip to content")
    nav = element("nav", {"aria-label": "Sections"}, *links)
    return join(skip, element("header", {}, element("h1", {}, title)), nav)


def _main(shown: list[tuple[str, str, Markup]]) -> Markup:
    needs = element("noscript", {}, element("p", {"class": "quiet"}, "Plots and pictures need JavaScript."))
    blocks = [
        element("section", {"id": anchor, "aria-label": heading}, element("h2", {}, heading), body)
        for anchor, heading, body in shown
    ]
    return element("main", {"id": "main"}, needs, *blocks)


def _write_thumbnails(pictures: tuple[Picture, ...], folder: Path) -> dict[str, str]:
    """image_id -> path. Thumbnails of an earlier report go first."""
    (folder / THUMBNAILS).mkdir(exist_ok=True)
    for old in (folder / THUMBNAILS).iterdir():
        if old.suffix in _MAGIC.values():
            old.unlink()
    paths = {}
    for picture in pictures:
        if picture.thumbnail is not None:
            paths[picture.image_id] = f"{THUMBNAILS}/{picture.image_id}{_suffix(picture.thumbnail)}"
            (folder / paths[picture.image_id]).write_bytes(picture.thumbnail)
    return paths


def _suffix(data: bytes) -> str:
    return next((suffix for magic, suffix in _MAGIC.items() if data.startswith(magic)), ".jpg")
