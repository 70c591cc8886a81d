"""Prompt files as bytes: unpacked, in UTF-8, and whether a file is still what it was.

Knows file systems; knows no format.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.encodings import HEAD_BYTES, marked_encoding, unmarked_encoding

_PACKED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_BUFFER_BYTES = 4 << 20
_PACKED_NOTHING_BYTES = 256  # more than any packing makes of no bytes


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
        return ending_of(self.path)

    @cached_property
    def is_empty(self) -> bool:
        """Of no bytes, packed or not."""
        if self.state.size > _PACKED_NOTHING_BYTES:
            return False
        with self.reading(), self._unpacked() as stream:
            return not stream.read(1)

    def open_file(self) -> pa.NativeFile:
        return self.filesystem.open_input_file(self.path)

    def open_stream(self) -> pa.NativeFile:
        """Text from the beginning, unpacked, in UTF-8 where its first bytes tell what else it is in."""
        encoding = self._encoding
        return pa.transcoding_input_stream(self._unpacked(), encoding, "utf-8") if encoding else self._unpacked()

    def check_unchanged(self) -> None:
        if state_of(self.filesystem, self.path) != self.state:
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

    def text_digest(self, way: str) -> str:
        """The content's digest, another one where the same bytes are read in a way that is not the plainest."""
        ways = " ".join(filter(None, [self._encoding, way]))
        return hashlib.sha256(f"{self.content_digest()} {ways}".encode()).hexdigest() if ways else self.content_digest()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what goes wrong inside into one line that names the file; a change of the file explains it best."""
        try:
            yield
        except (pa.ArrowException, OSError, EOFError, UnicodeError) as error:
            self.check_unchanged()
            reason = str(error).strip().split("\n")[0].rstrip(".")
            raise DarkroomError(
                f"{self.name}: cannot be read as {self.ending[1:]} ({reason}); write or copy the file again"
            ) from error

    @cached_property
    def _encoding(self) -> str | None:
        with self._unpacked() as stream:
            head = stream.read(HEAD_BYTES)
        marked = marked_encoding(head)
        if marked is None and (likely := unmarked_encoding(head)):
            raise DarkroomError(
                f"{self.name}: not UTF-8 text; by its NUL bytes it is {likely} without a byte order mark; "
                "save it as UTF-8"
            )
        return marked

    def _unpacked(self) -> pa.NativeFile:
        packed = _PACKED.get(Path(self.path.lower()).suffix)
        return self.filesystem.open_input_stream(self.path, compression=packed, buffer_size=_BUFFER_BYTES)


def ending_of(path: str) -> str:
    """Lower-case ending that names the format, without that of a compression."""
    name = Path(path.lower())
    return Path(name.stem).suffix if name.suffix in _PACKED else name.suffix


def state_of(filesystem: fs.FileSystem, path: str) -> FileState:
    info = filesystem.get_file_info(path)
    if info.type != fs.FileType.File:
        return FileState(-1, 0)
    if not isinstance(filesystem, fs.S3FileSystem):
        return FileState(info.size, info.mtime_ns or 0)
    with filesystem.open_input_file(path) as file:
        metadata = {key.lower(): value for key, value in (file.metadata() or {}).items()}
    return FileState(info.size, info.mtime_ns or 0, metadata.get("etag", b"").decode())
