"""Prompt files as bytes: what a path, folder, glob or s3:// address names, and whether a file is still what it was.

Knows file systems; knows no format.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from pipeline.domain.errors import DarkroomError

_PACKED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_MAGIC = re.compile(r"[*?\[]")
_BUFFER_BYTES = 4 << 20


@dataclass(frozen=True)
class FileState:
    """What tells a changed file from an unchanged one without reading it."""

    size: int
    mtime_ns: int
    etag: str = ""  # S3 only


@dataclass(frozen=True)
class PromptFile:
    name: str  # as the user would write it
    filesystem: fs.FileSystem
    path: str
    state: FileState

    @property
    def ending(self) -> str:
        """Lower-case ending that names the format, without that of a compression."""
        stem = Path(self.path.lower())
        return Path(stem.stem).suffix if stem.suffix in _PACKED else stem.suffix

    def open_file(self) -> pa.NativeFile:
        return self.filesystem.open_input_file(self.path)

    def open_stream(self) -> pa.NativeFile:
        """Bytes from the beginning, unpacked."""
        packed = _PACKED.get(Path(self.path.lower()).suffix)
        return self.filesystem.open_input_stream(self.path, compression=packed, buffer_size=_BUFFER_BYTES)

    def check_unchanged(self) -> None:
        if _state(self.filesystem, self.path) != self.state:
            raise DarkroomError(
                f"{self.name}: changed since it was first looked at; leave prompt files alone while a run reads them, "
                "and start again with the file as it is meant to be"
            )

    def content_digest(self) -> str:
        """SHA-256 of the bytes; on S3, of ETag and size, so that nothing is read twice."""
        if self.state.etag:
            return hashlib.sha256(f"{self.state.etag} {self.state.size}".encode()).hexdigest()
        sha = hashlib.sha256()
        with self.reading(), self.filesystem.open_input_stream(self.path) as stream:
            while chunk := stream.read(_BUFFER_BYTES):
                sha.update(chunk)
        return sha.hexdigest()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what goes wrong inside into one line that names the file; a change of the file explains it best."""
        try:
            yield
        except (pa.ArrowException, OSError, EOFError) as error:
            self.check_unchanged()
            reason = str(error).strip().split("\n")[0].rstrip(".")
            raise DarkroomError(
                f"{self.name}: cannot be read as {self.ending[1:]} ({reason}); write or copy the file again"
            ) from error


def find_files(uri: str, endings: frozenset[str], endpoint_url: str | None = None) -> list[PromptFile]:
    """The files that an address names, sorted by path: one file, all of a folder, or all that match a glob."""
    _check_address("prompts.uri", uri)
    _check_address("prompts.endpoint_url", endpoint_url or "")
    filesystem, path, prefix = _locate(uri, endpoint_url)
    try:
        paths = _expand(filesystem, path, endings)
        found = [
            PromptFile(_name(uri, path, prefix, each), filesystem, each, _state(filesystem, each)) for each in paths
        ]
    except (OSError, pa.ArrowException) as error:
        reason = str(error).strip().split("\n")[0]
        raise DarkroomError(f"prompts.uri={uri}: cannot be reached ({reason}); check the address and access") from error
    if not found:
        raise DarkroomError(f"prompts.uri={uri}: no such file, or nothing there to read; needed {_listed(endings)}")
    for file in found:
        if file.ending not in endings:
            raise DarkroomError(
                f"{file.name}: ending {file.ending!r} is not that of a prompt file; needed {_listed(endings)}"
            )
    return found


def _check_address(setting: str, address: str) -> None:
    """Refused without being repeated."""
    _, is_address, rest = address.partition("://")
    if is_address and "@" in rest.split("/")[0]:
        raise DarkroomError(
            f"{setting}: credentials in an address end up in logs; take them out of it and use the environment, ~/.aws "
            "or an instance role"
        )


def _locate(uri: str, endpoint_url: str | None) -> tuple[fs.FileSystem, str, str]:
    """File system, path in it, and what a path lacks to be an address."""
    if uri.startswith("s3://"):
        path = uri.removeprefix("s3://").strip("/")
        return _s3(path.split("/")[0], endpoint_url), path, "s3://"
    if "://" in uri and not uri.startswith("file://"):
        scheme = uri.split("://")[0]
        raise DarkroomError(f"prompts.uri={scheme}://...: only local paths and s3:// are read; copy the file to one")
    local = Path(uri.removeprefix("file://")).expanduser()
    return fs.LocalFileSystem(), os.path.normpath(local.absolute()), ""


def _s3(bucket: str, endpoint_url: str | None) -> fs.S3FileSystem:
    """Credentials and region come from where AWS tools look for them; without a region, the bucket is asked."""
    endpoint_url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint_url:
        parts = urlsplit(endpoint_url)
        return fs.S3FileSystem(endpoint_override=parts.netloc or endpoint_url, scheme=parts.scheme or "https")
    if os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        return fs.S3FileSystem()
    try:
        return fs.S3FileSystem(region=fs.resolve_s3_region(bucket))
    except OSError:
        return fs.S3FileSystem()  # let the first request say what is wrong


def _expand(filesystem: fs.FileSystem, path: str, endings: frozenset[str]) -> list[str]:
    kind = filesystem.get_file_info(path).type
    if kind == fs.FileType.File:  # a name with brackets is itself before it is a pattern
        return [path]
    if kind == fs.FileType.Directory:
        listed = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
        return sorted(info.path for info in listed if _is_data(info, path, endings))
    if not _MAGIC.search(path):
        return []
    base = _base(path)
    rest = path[len(base) + 1 :]
    selector = fs.FileSelector(base or "/", allow_not_found=True, recursive="/" in rest or "**" in rest)
    pattern = re.compile(_glob_regex(rest))
    listed = [info for info in filesystem.get_file_info(selector) if info.type == fs.FileType.File]
    return sorted(info.path for info in listed if pattern.fullmatch(info.path[len(base) :].lstrip("/")))


def _is_data(info: fs.FileInfo, folder: str, endings: frozenset[str]) -> bool:
    """Whether a folder's entry is meant as data: hidden files, markers and notes are not."""
    if info.type != fs.FileType.File:
        return False
    hidden = any(part[:1] in "._" for part in info.path[len(folder) :].strip("/").split("/"))
    return not hidden and PromptFile("", None, info.path, FileState(0, 0)).ending in endings


def _base(path: str) -> str:
    """The folder above the first part with a wildcard."""
    fixed = []
    for part in path.split("/"):
        if _MAGIC.search(part):
            break
        fixed.append(part)
    return "/".join(fixed)


def _glob_regex(pattern: str) -> str:
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]/]+\]|[^*?\[]+|\[", pattern)
    known = {"**/": r"(?:[^/]+/)*", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    return "".join(
        known.get(token) or (_char_class(token) if _is_class(token) else re.escape(token)) for token in tokens
    )


def _is_class(token: str) -> bool:
    return token.startswith("[") and token.endswith("]") and len(token) > 2


def _char_class(token: str) -> str:
    inside = token[1:-1].replace("\\", r"\\")
    return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"


def _name(uri: str, path: str, prefix: str, found: str) -> str:
    if found == path:
        return uri
    if prefix:
        return prefix + found
    base, given = _base(path), _base(uri.removeprefix("file://").rstrip("/"))
    return f"{given}/{found[len(base) :].lstrip('/')}" if given else found[len(base) :].lstrip("/")


def _state(filesystem: fs.FileSystem, path: str) -> FileState:
    info = filesystem.get_file_info(path)
    if info.type != fs.FileType.File:
        return FileState(-1, 0)
    if not isinstance(filesystem, fs.S3FileSystem):
        return FileState(info.size, info.mtime_ns or 0)
    with filesystem.open_input_file(path) as file:
        metadata = {key.lower(): value for key, value in (file.metadata() or {}).items()}
    return FileState(info.size, info.mtime_ns or 0, metadata.get("etag", b"").decode())


def _listed(endings: frozenset[str]) -> str:
    return "one of " + " ".join(sorted(endings)) + " (or one of these and .gz)"
