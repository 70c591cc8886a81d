"""The report's files: index.html, what it needs beside it, report.md and metrics.parquet.

They open from a disk or a static bucket without a network: scripts and styles lie beside the page, data inside it.
Knows what a section is, not what is in it, nor where the files go.
"""

import io
from collections.abc import Mapping
from importlib.resources import files

import pyarrow.parquet as pq
from plotly.offline import get_plotlyjs

from darkroom.reporting.checks import check
from darkroom.reporting.content import Picture, ReportContent
from darkroom.reporting.markup import Markup, element, join, json_for_script
from darkroom.reporting.payload import payload
from darkroom.reporting.sections import sections
from darkroom.reporting.summary import summary
from darkroom.reporting.tables import metrics_table

_PLOTLY = "plotly.min.js"
_SCRIPTS = ("report.js", "plots.js", "pictures.js")  # in this order, after Plotly
STYLE = "report.css"
INDEX = "index.html"
THUMBNAILS = "thumbnails"
_MAGIC = {b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"\x89PNG": ".png"}
# Scripts come from files beside the page alone: nothing written in it can run. A page on a disk has no origin of its
# own, so "self" alone would not do everywhere. Plotly writes style elements and draws to blobs.
_POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file: 'unsafe-inline'; "
    "img-src 'self' file: data: blob:; base-uri 'none'; form-action 'none'"
)


def report_files(content: ReportContent) -> dict[str, bytes]:
    """Name -> content. Raises DarkroomError where the content does not fit together."""
    check(content)
    thumbnails = _thumbnails(content.pictures)
    paths = {image_id: path for image_id, (path, _) in thumbnails.items()}
    metrics = io.BytesIO()
    pq.write_table(metrics_table(content), metrics)
    return {
        **dict(thumbnails.values()),
        "metrics.parquet": metrics.getvalue(),
        "report.md": summary(content).encode("utf-8", "replace"),
        _PLOTLY: get_plotlyjs().encode(),
        **{name: (files("darkroom.reporting") / "assets" / name).read_bytes() for name in (*_SCRIPTS, STYLE)},
        INDEX: page(content, paths).encode("utf-8", "replace"),
    }


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
        element("link", {"rel": "stylesheet", "href": STYLE}),
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


def _thumbnails(pictures: tuple[Picture, ...]) -> dict[str, tuple[str, bytes]]:
    """image_id -> (path, content)."""
    return {
        picture.image_id: (f"{THUMBNAILS}/{picture.image_id}{_suffix(picture.thumbnail)}", picture.thumbnail)
        for picture in pictures
        if picture.thumbnail is not None
    }


def _suffix(data: bytes) -> str:
    return next((suffix for magic, suffix in _MAGIC.items() if data.startswith(magic)), ".jpg")
