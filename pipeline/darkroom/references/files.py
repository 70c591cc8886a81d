"""Files of a reference: what a path, folder, glob or s3:// address names, whatever the files are called.

Knows disks and buckets by Arrow's file systems; knows no format.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import pyarrow as pa
from pyarrow import fs

from darkroom.domain.errors import DarkroomError
from darkroom.domain.files import walk
from darkroom.domain.identity import digest
from darkroom.storage.opening import open_store
from darkroom.storage.store import Store, StoreError, parse_spec

_WILDCARD = re.compile(r"[*?\[]")
_LISTING_VERSION = 2  # counted up when the same files are to be read as other images
_SETTLED_S = 2.0  # files changed later than this before a look may change again within their clock's step


@dataclass(frozen=True)
class File:
    """One file as it was listed."""

    filesystem: fs.FileSystem
    path: str  # in the file system
    name: str  # for people, in one line
    size_bytes: int  # -1 of what is no file: a pipe, or a link that leads nowhere
    mtime_ns: int

    @property
    def ending(self) -> str:
        return PurePosixPath(self.path).suffix.lower()

    def read(self) -> bytes:
        with reading(self.name), self.filesystem.open_input_file(self.path) as file:
            return file.read()


@dataclass(frozen=True)
class Place:
    """An address, looked up."""

    store: Store
    filesystem: fs.FileSystem
    path: str

    @property
    def type(self) -> fs.FileType:
        return self._type(self.path)

    def holds(self, key: str) -> bool:
        return self._type(f"{self.path}/{key}") == fs.FileType.File

    def _type(self, path: str) -> fs.FileType:
        with reading(self.store.describe()):
            return self.filesystem.get_file_info(path).type


def locate(uri: str, endpoint_url: str | None) -> Place:
    """An address, checked; an S3 must answer. Nothing needs to be there.

    Raises DarkroomError where it is no address, or its store cannot be reached.
    """
    try:
        store = open_store(parse_spec(uri, endpoint_url))
        if store.spec.is_remote:
            store.check(writing=False)
    except DarkroomError as error:  # a store speaks of where a run goes
        words = str(error).replace("output.uri", "reference").replace("output.endpoint_url", "its endpoint_url")
        raise type(error)(words) from error
    return Place(store, *store.filesystem())


def find(place: Place) -> list[File]:
    """The file at a place, all below a folder, or all that match a glob, in order of path. Hidden ones do not count."""
    with reading(place.store.describe()):
        if place.type == fs.FileType.File:  # a name with brackets is itself before it is a pattern
            found = [place.filesystem.get_file_info(place.path)]
        elif place.type == fs.FileType.Directory:
            found = _below(place, place.path, recursive=True)
        else:
            found = _matching(place)
    sign = "" if _is_local(place) else f"{place.store.spec.uri.split('://')[0]}://"
    files = [info for info in found if info.type != fs.FileType.Directory]
    files.sort(key=lambda info: info.path)
    return [_file(place.filesystem, sign, info) for info in files]


def _file(filesystem: fs.FileSystem, sign: str, info: fs.FileInfo) -> File:
    size = info.size if info.type == fs.FileType.File else -1
    return File(filesystem, info.path, shown(sign + info.path), size, info.mtime_ns or 0)


def listing(kind: str, files: Sequence[File], endpoint_url: str | None) -> str | None:
    """A digest that changes when a file does, but for files that are too new to be sure of: None with any of those."""
    if max(file.mtime_ns for file in files) > (time.time() - _SETTLED_S) * 1e9:
        return None
    known = [(file.name, file.size_bytes, file.mtime_ns) for file in files]
    return digest("listing", _LISTING_VERSION, kind, endpoint_url, known)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what goes wrong inside into one line that names the file."""
    try:
        yield
    except StoreError as error:  # says what to do already
        raise DarkroomError(f"reference {name}: {error}") from error
    except (OSError, pa.ArrowException) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DarkroomError(
            f"reference {name}: cannot be read ({shown(reason.strip().splitlines()[0])}); check that it is whole, and "
            "that you may read it"
        ) from error
    except UnicodeError as error:
        raise DarkroomError(f"reference {name}: a file's name is not UTF-8; rename it") from error


def shown(text: str) -> str:
    """A name from outside as one line without control characters."""
    return text if text.isprintable() else ascii(text)


def _matching(place: Place) -> list[fs.FileInfo]:
    parts = place.path.split("/")
    fixed = next((index for index, part in enumerate(parts) if _WILDCARD.search(part)), len(parts))
    patterns = parts[fixed:]
    folder = "/".join(parts[:fixed])
    found = _below(place, folder or "/", recursive=len(patterns) > 1 or "**" in patterns) if patterns else []
    return [info for info in found if _matches(info.path[len(folder) :].strip("/").split("/"), patterns)]


def _matches(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a path fits a glob, part by part; `**` stands for any number of folders."""
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_matches(parts[skipped:], patterns[1:] or ["*"]) for skipped in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and _matches(parts[1:], patterns[1:])


def _below(place: Place, folder: str, recursive: bool) -> list[fs.FileInfo]:
    if _is_local(place):
        return place.filesystem.get_file_info(list(walk(folder, recursive)))
    selector = fs.FileSelector(folder, allow_not_found=True, recursive=recursive)
    found = place.filesystem.get_file_info(selector)
    return [info for info in found if not _is_hidden(info.path[len(folder) :])]


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.strip("/").split("/"))


def _is_local(place: Place) -> bool:
    return isinstance(place.filesystem, fs.LocalFileSystem)
