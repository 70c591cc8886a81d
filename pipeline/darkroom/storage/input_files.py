"""One input file: opened, unpacked, turned to UTF-8, digested, and watched for change while it is read."""

import hashlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

import pyarrow as pa
from pyarrow import fs

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.identity import digest

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}  # ending -> Arrow's name of it
_BUFFER_BYTES = 4 << 20
_PACKED_NOTHING_BYTES = 256  # more than any compression makes of no bytes
_SETTLED_S = 2.0  # a file that changed within this time of its listing may change again without a change of its time
_HEAD_BYTES = 4096  # of a text, by which its encoding is told
_MARKS = {  # byte order marks; the longer ones first, since one begins as another does
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_NUL_SHARE = 0.25  # of the bytes: far above that of text with a NUL astray, below that of UTF-16


@dataclass(frozen=True)
class FileState:
    """What tells a changed file from an unchanged one without reading it."""

    size_bytes: int  # -1 of what is no file: a pipe, or a link that leads nowhere
    mtime_ns: int
    etag: str = ""  # of an object in S3, where it was asked for


@dataclass(frozen=True)
class InputFile:
    """A file as it was listed."""

    name: str  # as the user would write it, in one line
    filesystem: fs.FileSystem
    path: str  # in the file system
    state: FileState
    compression: str | None = None  # Arrow's name of what its bytes are packed with
    is_known_by_etag: bool = False  # whether its digest is of ETag and size, as an older version knew objects in S3
    _digests: list[str] = field(default_factory=list, init=False, compare=False, repr=False)  # of its bytes, once known

    @property
    def ending(self) -> str:
        """Lower-case ending that names the format, without that of a compression."""
        return ending_of(self.path, self.compression is not None)

    @cached_property
    def is_empty(self) -> bool:
        """Whether it has no bytes, packed or not."""
        if self.state.size_bytes > _PACKED_NOTHING_BYTES:
            return False
        with self.reading(), self.open_stream() as stream:
            return not stream.read(1)

    def open_file(self) -> pa.NativeFile:
        """The bytes as they lie there, at any place."""
        return self.filesystem.open_input_file(self.path)

    def open_stream(self) -> pa.NativeFile:
        """The bytes from the beginning, unpacked."""
        return self.filesystem.open_input_stream(self.path, compression=self.compression, buffer_size=_BUFFER_BYTES)

    def open_text(self) -> pa.NativeFile:
        """Text from the beginning, unpacked, in UTF-8 where its byte order mark names another encoding.

        Who reads it to its end spares `content_digest` a reading of its own.
        """
        encoding, stream = self._encoding, self.open_stream()
        if not self._digests:
            digesting = pa.PythonFile(_Digesting(stream, self._digests.append), mode="r")
            stream = pa.BufferedInputStream(digesting, _BUFFER_BYTES)
        return pa.transcoding_input_stream(stream, encoding, "utf-8") if encoding else stream

    def read(self) -> bytes:
        """All bytes, as they lie there."""
        with self.reading(), self.open_file() as file:
            return bytes(file.read())

    def check_unchanged(self) -> None:
        """Raises DarkroomError where the file is no longer the one that was listed."""
        if state_of(self.filesystem, self.path, has_etag=bool(self.state.etag)) != self.state:
            raise DarkroomError(
                f"{self.name}: changed since it was listed; leave input files alone while a job reads them, "
                "and start again with the file as it is meant to be"
            )

    def content_digest(self) -> str:
        """SHA-256 of the unpacked bytes, wherever they lie: of a stream that was read to its end, or by reading one."""
        if self.is_known_by_etag and self.state.etag:
            return hashlib.sha256(f"{self.state.etag} {self.state.size_bytes}".encode()).hexdigest()
        if not self._digests:
            with self.reading():
                stream = _Digesting(self.open_stream(), self._digests.append)
                while stream.read(_BUFFER_BYTES):
                    pass
                stream.close()
        return self._digests[0]

    def text_digest(self, interpretation: str) -> str:
        """The content's digest, another one where the same bytes are read in a way that is not the plainest."""
        ways = " ".join(filter(None, [self._encoding, interpretation]))
        return hashlib.sha256(f"{self.content_digest()} {ways}".encode()).hexdigest() if ways else self.content_digest()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what goes wrong inside into one line that names the file; a change of the file explains it best."""
        try:
            yield
        except (pa.ArrowException, OSError, EOFError, UnicodeError) as error:
            self.check_unchanged()
            raise DarkroomError(
                f"{self.name}: cannot be read as {self.ending[1:] or 'a file'} ({reason_of(error)}); check that it is "
                "whole and that you may read it, or write or copy it again"
            ) from error

    @cached_property
    def _encoding(self) -> str | None:
        """What a byte order mark names; None is UTF-8. Raises DarkroomError for UTF-16 or UTF-32 without a mark."""
        with self.open_stream() as stream:
            head = stream.read(_HEAD_BYTES)
        marked = next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), None)
        if marked is None and (likely := _unmarked_encoding(head)):
            raise DarkroomError(
                f"{self.name}: not UTF-8 text; by its NUL bytes it is {likely} without a byte order mark; "
                "save it as UTF-8"
            )
        return marked


class _Digesting(io.RawIOBase):
    """A stream that tells the SHA-256 of its bytes once it was read from the beginning to the end."""

    def __init__(self, stream: pa.NativeFile, tell: Callable[[str], None]) -> None:
        self._stream, self._tell, self._sha = stream, tell, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read(None if size < 0 else size)
        self._sha.update(data)
        if not data or size < 0:
            self._tell(self._sha.hexdigest())
        return data

    def close(self) -> None:
        self._stream.close()
        super().close()


def ending_of(path: str, is_packed: bool) -> str:
    """Lower-case ending of a path, with the dot; of a packed file, the one before that of its compression."""
    name = PurePosixPath(path.lower())
    return PurePosixPath(name.stem).suffix if is_packed else name.suffix


def compression_of(path: str) -> str | None:
    """What a file of this name is packed with, as Arrow calls it."""
    return COMPRESSIONS.get(PurePosixPath(path.lower()).suffix)


def state_of(filesystem: fs.FileSystem, path: str, has_etag: bool) -> FileState:
    """The state of a file as it is now; `has_etag` asks an object in S3 for its ETag, which is a request of its own."""
    return listed_state(filesystem, filesystem.get_file_info(path), has_etag)


def listed_state(filesystem: fs.FileSystem, info: fs.FileInfo, has_etag: bool) -> FileState:
    """The same of a file that a listing tells of."""
    if info.type != fs.FileType.File:
        return FileState(-1, 0)
    etag = _etag(filesystem, info.path) if has_etag and isinstance(filesystem, fs.S3FileSystem) else ""
    return FileState(info.size, info.mtime_ns or 0, etag)


def listing_digest(files: Sequence[InputFile], *about: object) -> str | None:
    """A digest that changes when a file does, and with what it is `about`.

    None where a file is too new to be sure of: it may change again without a change of its time.
    """
    if max(file.state.mtime_ns for file in files) > (time.time() - _SETTLED_S) * 1e9:
        return None
    known = [(file.filesystem.type_name, file.path, file.state.size_bytes, file.state.mtime_ns) for file in files]
    return digest("listing", *about, known)


def reason_of(error: Exception) -> str:
    """What an error says, in one line that ends without a full stop."""
    text = (error.strerror if isinstance(error, OSError) else None) or first_line(error)
    return one_line(text.rstrip("."))


def one_line(text: str) -> str:
    """A text from outside, such as a file's name, without control characters."""
    return text if text.isprintable() else ascii(text)


def _etag(filesystem: fs.FileSystem, path: str) -> str:
    with filesystem.open_input_file(path) as file:
        metadata = {key.lower(): value for key, value in (file.metadata() or {}).items()}
    return str(metadata.get("etag", b""), "utf-8")


def _unmarked_encoding(head: bytes) -> str | None:
    """For people: what text with this many NUL bytes is likely written in; None is UTF-8."""
    if head.count(0) <= _NUL_SHARE * len(head) or 0 not in head[:2]:
        return None
    width = 4 if head.count(0) > 0.6 * len(head) else 2
    order = "LE" if head[0::width].count(0) <= head[width - 1 :: width].count(0) else "BE"
    return f"UTF-{8 * width}{order}"
