"""Whether a report's content fits together, before anything is written. Knows no page."""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from darkroom.domain.errors import DarkroomError
from darkroom.reporting.content import ReportContent

_FILE_NAME = re.compile(r"[0-9A-Za-z_-]{1,128}")
_HREF_SCHEMES = {"", "http", "https"}


def check(content: ReportContent) -> None:
    """Raises DarkroomError for the first thing that would make a page that is wrong or unsafe."""
    for fault in _faults(content):
        raise DarkroomError(fault)


def _faults(content: ReportContent) -> Iterator[str]:
    cells = {cell.cell_id for cell in content.cells}
    metrics = {metric.name for metric in content.metrics}
    pictures = {picture.image_id for picture in content.pictures}
    yield from _repeated("cell_id", [cell.cell_id for cell in content.cells])
    yield from _repeated("image_id", [picture.image_id for picture in content.pictures])
    yield from _unknown("a picture's cell_id", (picture.cell_id for picture in content.pictures), cells)
    yield from _unknown("scores' cell_id", content.scores, cells)
    yield from _unknown("picks' image_id", _picked(content), pictures)
    yield from _unknown("a figure's metric", (name for cell in content.cells for name in cell.figures), metrics)
    if content.score_metric is not None:
        yield from _unknown("score_metric", [content.score_metric], metrics)
    yield from _axis_faults(content)
    yield from _picture_faults(content)


def _repeated(what: str, names: list[str]) -> Iterator[str]:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        yield f"report: {what} {twice!r} is there twice; give each once"


def _unknown(what: str, names: Iterable[str], known: set[str]) -> Iterator[str]:
    for name in names:
        if name not in known:
            yield f"report: {what} {name!r} is not among the report's {sorted(known)[:5]}; add it or leave it out"


def _picked(content: ReportContent) -> tuple[str, ...]:
    return content.picks.best + content.picks.median + content.picks.worst


def _axis_faults(content: ReportContent) -> Iterator[str]:
    for axis in content.axes:
        for cell in content.cells:
            if axis.name not in cell.settings:
                yield f"report: cell {cell.cell_id!r} has no setting {axis.name!r}; give it one or drop the axis"
            elif cell.settings[axis.name] not in axis.values:
                value = cell.settings[axis.name]
                yield f"report: cell {cell.cell_id!r} has {axis.name}={value!r}, not a value of the axis; add the value"


def _picture_faults(content: ReportContent) -> Iterator[str]:
    """image_id names a file, and image_href is followed by a click: neither may be anything."""
    for picture in content.pictures:
        if not _FILE_NAME.fullmatch(picture.image_id):
            yield f"report: image_id {picture.image_id!r} cannot name a file; use letters, digits, - and _"
        if picture.image_href is not None and not _is_safe_href(picture.image_href):
            yield f"report: image_href {picture.image_href!r} is no relative path, http or https address; use one"


def _is_safe_href(href: str) -> bool:
    """Browsers drop control signs before they read the scheme, so an address that has any is refused."""
    if any(ord(sign) < 33 for sign in href) or "\\" in href:
        return False
    try:
        return urlsplit(href).scheme.lower() in _HREF_SCHEMES
    except ValueError:
        return False
