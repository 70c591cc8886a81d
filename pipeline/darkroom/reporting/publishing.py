"""A report's files: index.html, what it needs beside it, report.md, its tables and the grid of all cells; put under
a prefix of a store.

A list of its own files lies beside them. What an earlier report put there is removed by that list, and nothing else is:
whoever shares the folder keeps what is theirs.
"""

import io
import json
from collections.abc import Collection, Mapping
from importlib.resources import files
from pathlib import PurePosixPath

import pyarrow.parquet as pq
from plotly.offline import get_plotlyjs

from darkroom.domain.errors import DarkroomError
from darkroom.reporting.content import ReportContent, check
from darkroom.reporting.data import edit_name, metrics_table, noised_name, strip_name
from darkroom.reporting.exports import CSV, LATEX, csv_table, latex_table
from darkroom.reporting.grid_image import GRID
from darkroom.reporting.page import PLOTLY, PROMPTS_STYLE, SCRIPTS, STYLE, page
from darkroom.reporting.summary import summary
from darkroom.storage.store import OCTETS, NotFound, Store, check_key, prefetched

INDEX = "index.html"
LIST = "files.json"
THUMBNAILS = "thumbnails"
_MAGIC = {b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"\x89PNG": ".png"}  # of thumbnails
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".tex": "application/x-tex; charset=utf-8",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".png": "image/png",
}


def report_files(content: ReportContent) -> dict[str, bytes]:
    """Name -> bytes. Raises DarkroomError where the content does not fit together."""
    check(content)
    thumbnails = {each.image_id: each.thumbnail for each in content.pictures if each.thumbnail is not None}
    names = {image_id: f"{THUMBNAILS}/{image_id}{_suffix(data)}" for image_id, data in thumbnails.items()}
    strips = strip_files(content) | {edit_name(edit): edit.picture for edit in content.edits}
    metrics = io.BytesIO()
    pq.write_table(metrics_table(content), metrics)
    return {
        **{names[image_id]: data for image_id, data in thumbnails.items()},
        **strips,
        "metrics.parquet": metrics.getvalue(),
        CSV: csv_table(content).encode("utf-8", "replace"),
        LATEX: latex_table(content).encode("utf-8", "replace"),
        **({GRID: content.grid} if content.grid else {}),
        "report.md": summary(content).encode("utf-8", "replace"),
        PLOTLY: get_plotlyjs().encode(),
        **{
            name: (files("darkroom.reporting") / "assets" / name).read_bytes()
            for name in (*SCRIPTS, STYLE, PROMPTS_STYLE)
        },
        INDEX: page(content, names).encode("utf-8", "replace"),
    }


def strip_files(content: ReportContent) -> dict[str, bytes]:
    """Of how pictures form."""
    if content.forming is None:
        return {}
    strips = {strip_name(strip): strip.picture for strip in content.forming.strips}
    return strips | {noised_name(place): each.picture for place, each in enumerate(content.forming.noised)}


def _suffix(thumbnail: bytes) -> str:
    return next((suffix for magic, suffix in _MAGIC.items() if thumbnail.startswith(magic)), ".jpg")


def publish(contents: Mapping[str, bytes], store: Store, prefix: str) -> str:
    """The address of index.html, which is put last: an older page stays whole until this one is.

    Killed at any time, the list names every file that was put. Raises DarkroomError where a file of somebody else has
    the name of one of the report's, before anything is written.
    """
    old = _listed(store, prefix)
    if old is None:
        _check_is_free(contents, store, prefix)
    _put_list({*(old or ()), *contents}, store, prefix)
    for _ in prefetched(contents.keys() - {INDEX}, lambda name: put_file(name, contents[name], store, prefix)):
        pass
    put_file(INDEX, contents[INDEX], store, prefix)
    store.delete(prefix + name for name in sorted(set(old or ()) - contents.keys()))
    _put_list(contents, store, prefix)
    return store.describe(prefix + INDEX)


def _listed(store: Store, prefix: str) -> list[str] | None:
    """What an earlier report put there; None where no list says so."""
    key = prefix + LIST
    try:
        return [check_key(str(name)) for name in json.loads(store.get(key))["files"]]
    except NotFound:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DarkroomError(
            f"{store.describe(key)}: not readable as the list of an earlier report's files ({error}); remove it, and "
            "what lies there of that report"
        ) from error


def _check_is_free(names: Collection[str], store: Store, prefix: str) -> None:
    """A page that is older than the lists is replaced as ever; its thumbnails stay, since no list names them."""
    if f'href="{STYLE}"'.encode() in (_there(store, prefix + INDEX) or b""):
        return
    for name in names:
        if not name.startswith(f"{THUMBNAILS}/") and _there(store, prefix + name) is not None:
            raise DarkroomError(
                f"{store.describe(prefix + name)}: there already, and no report wrote it; name another "
                "output.uri, or remove it"
            )


def _there(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except NotFound:
        return None


def _put_list(names: Collection[str], store: Store, prefix: str) -> None:
    data = json.dumps({"files": sorted(names)}, indent=0).encode()
    put_file(LIST, data, store, prefix)


def put_file(name: str, data: bytes, store: Store, prefix: str) -> None:
    """With the content type that its ending says."""
    store.put(prefix + name, data, _CONTENT_TYPES.get(PurePosixPath(name).suffix, OCTETS))
