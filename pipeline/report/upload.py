"""Puts a report's folder under a prefix of a store, such that it opens from a static bucket. Knows no cloud."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.report.page import INDEX, THUMBNAILS
from pipeline.storage.store import OCTETS, Store

_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".png": "image/png",
}
_NUM_WRITERS = 8  # threads


def upload(folder: Path, store: Store, prefix: str) -> str:
    """The address of its index.html, which is put last: an older page stays whole until this one is."""
    names = sorted(_names(folder), key=lambda name: name == INDEX)
    with ThreadPoolExecutor(_NUM_WRITERS, "upload") as pool:
        list(pool.map(lambda name: _put(folder, name, store, prefix), names[:-1]))
    _put(folder, names[-1], store, prefix)
    kept = {prefix + name for name in names}
    old = [info.key for info in store.list(f"{prefix}{THUMBNAILS}/") if info.key not in kept]
    store.delete(old)
    return store.describe(prefix + INDEX)


def _names(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _put(folder: Path, name: str, store: Store, prefix: str) -> None:
    path = folder / name
    store.put(prefix + name, path.read_bytes(), _CONTENT_TYPES.get(path.suffix, OCTETS))
