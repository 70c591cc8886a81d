"""Input files: which ones a path, a folder, a glob or an address such as s3://bucket/folder names.

What is found and is not of interest is named, never dropped in silence; but for hidden files, which programs leave.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs

from darkroom.domain.errors import DarkroomError, TryAgain, credentials_in, has_credentials
from darkroom.domain.process import walk
from darkroom.storage.input_files import InputFile, compression_of, listed_state, one_line, reason_of, state_of
from darkroom.storage.store import Store, check_slashes, endpoint_of_no_store, is_remote, open_store, parse_spec

_WILDCARD = re.compile(r"[*?\[]")
_NAMES_SHOWN = 5


@dataclass(frozen=True)
class Place:
    """An address, checked: it may hold a file, a folder or nothing, and it may be a glob."""

    uri: str  # as the user wrote it
    setting: str  # that gave it, for errors
    filesystem: fs.FileSystem
    path: str  # absolute, in the file system
    scheme: str = ""  # such as "s3://"; empty on this machine's disks

    @property
    def type(self) -> fs.FileType:
        with self.reaching():
            return self.filesystem.get_file_info(self.path).type

    def holds(self, name: str) -> bool:
        """Whether a file of this name lies below."""
        return bool(replace(self, path=f"{self.path}/{name}").type == fs.FileType.File)

    def name(self, path: str) -> str:
        """A path at or below the address as the user would write it, in one line."""
        if path == self.path:
            return one_line(self.uri)
        if self.scheme:
            return one_line(self.scheme + path)
        given, base = self._fixed
        inside = path[len(base) :].lstrip("/")
        return one_line(f"{given}/{inside}" if given else inside)

    @cached_property
    def _fixed(self) -> tuple[str, str]:
        """What no wildcard is in, of the address and of the path."""
        return fixed_part(self.uri.removeprefix("file://").rstrip("/")), fixed_part(self.path)

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Turn what goes wrong inside into one line that names the address."""
        try:
            yield
        except UnicodeError as error:
            raise DarkroomError(f"{self.setting}={self.uri}: a file's name is not UTF-8; rename it") from error
        except (OSError, pa.ArrowException) as error:
            raise DarkroomError(
                f"{self.setting}={self.uri}: cannot be reached ({reason_of(error)}); check the address and access"
            ) from error


@dataclass(frozen=True)
class Kinds:
    """Which files below a folder, or of a glob, are of interest."""

    endings: frozenset[str]  # lower case, with the dot
    noun: str  # what files of these endings are called, in plural
    unpacks: bool = False  # whether .gz, .bz2 or .zst may follow the ending
    hidden: str = "."  # first characters of files and folders that are passed over, unless a part of a glob has them
    has_etags: bool = False  # whether an object's ETag is part of its state: a request for each file
    exclude: Callable[[Sequence[InputFile]], Sequence[InputFile]] = lambda files: ()  # of those with an ending
    exclude_reason: str = ""


@dataclass(frozen=True)
class Scan:
    """What an address names."""

    files: tuple[InputFile, ...]  # in order of path
    base: str  # the folder that all of them lie in
    left_out: tuple[str, ...]  # what is there and is not read, and why: a sentence for each reason


def locate(uri: str, endpoint_url: str | None, setting: str, endpoint_setting: str) -> Place:
    """An address that `setting` gave, checked; an object store must answer. Nothing needs to lie there.

    Raises DarkroomError, without repeating it, for one with credentials, and in one line for any that is of no use.
    """
    for name, address in ((setting, uri), (endpoint_setting, endpoint_url or "")):
        _, is_address, rest = address.partition("://")
        if is_address and ("@" in rest.split("/")[0] or has_credentials(address)):
            raise credentials_in(name)
    check_slashes(uri, setting)
    scheme, is_address, rest = uri.partition("://")
    if is_address and scheme not in ("file", "s3"):
        raise DarkroomError(f"{setting}: {scheme}:// is not read from; use a folder or s3://, or copy the files to one")
    if not is_remote(uri):
        if endpoint_url:
            raise endpoint_of_no_store(uri, setting, endpoint_setting)
        local = unquote(rest) if is_address else os.path.expanduser(uri)  # noqa: PTH111 - leaves an unknown user's ~
        return Place(uri, setting, fs.LocalFileSystem(), os.path.abspath(local))  # noqa: PTH100 - and takes out ".."
    try:
        return _in_store(uri, endpoint_url, setting)
    except DarkroomError as error:  # a store speaks of where a run goes
        text = str(error).replace("output.uri", setting).replace("output.endpoint_url", endpoint_setting)
        raise type(error)(text) from error


def scan(place: Place, kinds: Kinds) -> Scan:
    """The file at a place, whatever its ending; or of all below a folder, or all that match a glob, those of interest.

    Raises DarkroomError where one of interest is no file.
    """
    with place.reaching():
        base, found = _found(place, kinds.hidden)
        listed = [_listed(place, kinds, info) for info in sorted(found, key=lambda info: info.path)]
        is_named = [file.path for file in listed] == [place.path]
        files, left_out = (listed, []) if is_named else _chosen(listed, base, kinds)
        if kinds.has_etags and place.scheme:
            files = [replace(file, state=state_of(file.filesystem, file.path, has_etag=True)) for file in files]
    for file in files:
        if file.state.size_bytes < 0:
            raise DarkroomError(f"{file.name}: a pipe, or a link that leads nowhere; mend or remove it")
    return Scan(tuple(files), base, tuple(left_out))


def fixed_part(path: str) -> str:
    """What comes before the first part of a path with a wildcard: all files of a glob lie below it."""
    parts = path.split("/")
    return "/".join(parts[: next((index for index, part in enumerate(parts) if _WILDCARD.search(part)), len(parts))])


def matches(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a path fits a glob, part by part; `**` stands for any number of folders, and at the end for any file."""
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(matches(parts[skipped:], patterns[1:] or ["*"]) for skipped in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and matches(parts[1:], patterns[1:])


def _in_store(uri: str, endpoint_url: str | None, setting: str) -> Place:
    """A place in an object store. Without the right to list, an address may still name a single object."""
    scheme, _, rest = uri.partition("://")
    path = rest.strip("/")
    spec = parse_spec(f"{scheme}://{path.split('/')[0]}", endpoint_url)
    base = fixed_part(path)
    store = open_store(replace(spec, uri=f"{scheme}://{base}"))
    refusal = _refusal(store)
    filesystem, root = store.filesystem()
    place = Place(uri, setting, filesystem, root + path[len(base) :], f"{scheme}://")
    if refusal:
        with suppress(DarkroomError):
            if place.type == fs.FileType.File:
                return place
        raise refusal
    return place


def _refusal(store: Store) -> DarkroomError | None:
    try:
        store.check(writing=False)
    except TryAgain:
        raise
    except DarkroomError as error:
        return error
    return None


def _found(place: Place, hidden: str) -> tuple[str, list[fs.FileInfo]]:
    """The folder that all lie in, and everything there that is no folder."""
    if place.type == fs.FileType.File:  # a name with brackets is itself before it is a pattern
        return str(Path(place.path).parent), [place.filesystem.get_file_info(place.path)]
    if place.type == fs.FileType.Directory:
        return place.path, _below(place.filesystem, place.path, True, hidden)
    base = fixed_part(place.path)
    patterns = place.path[len(base) :].strip("/").split("/")
    if base == place.path:
        return base, []
    hidden = "".join(first for first in hidden if not any(part.startswith(first) for part in patterns))
    found = _below(place.filesystem, base or "/", len(patterns) > 1 or "**" in patterns, hidden)
    return base, [info for info in found if matches(_inside(info.path, base).split("/"), patterns)]


def _below(filesystem: fs.FileSystem, folder: str, recursive: bool, hidden: str) -> list[fs.FileInfo]:
    if isinstance(filesystem, fs.LocalFileSystem):
        found = filesystem.get_file_info(list(walk(folder, recursive, hidden)))
    else:
        every = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True, recursive=recursive))
        parts = [(info, _inside(info.path, folder).split("/")) for info in every]
        found = [info for info, names in parts if not any(name.startswith(tuple(hidden)) for name in names)]
    return [info for info in found if info.type != fs.FileType.Directory]


def _listed(place: Place, kinds: Kinds, info: fs.FileInfo) -> InputFile:
    state = listed_state(place.filesystem, info, has_etag=False)
    compression = compression_of(info.path) if kinds.unpacks else None
    return InputFile(place.name(info.path), place.filesystem, info.path, state, compression)


def _chosen(listed: Sequence[InputFile], base: str, kinds: Kinds) -> tuple[list[InputFile], list[str]]:
    """Files of interest, and sentences about the others."""
    known = [file for file in listed if file.ending in kinds.endings]
    unknown = [file for file in listed if file.ending not in kinds.endings]
    excluded = kinds.exclude(known)
    paths = {file.path for file in excluded}
    sentences = [
        _left_out(excluded, base, kinds.exclude_reason),
        _left_out(unknown, base, f"not {kinds.noun} by their endings"),
    ]
    return [file for file in known if file.path not in paths], [sentence for sentence in sentences if sentence]


def _left_out(files: Sequence[InputFile], base: str, reason: str) -> str:
    names = ", ".join(one_line(_inside(file.path, base)) for file in files[:_NAMES_SHOWN])
    more = f" and {len(files) - _NAMES_SHOWN} more" if len(files) > _NAMES_SHOWN else ""
    return f"left out {names}{more} ({reason})" if files else ""


def _inside(path: str, base: str) -> str:
    return path[len(base) :].strip("/")
