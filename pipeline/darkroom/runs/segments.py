"""Segments: Parquet files that hold the records of many shards, each a faster copy of a part of a cell's manifests.

A segment is put once, whole, and never changed or removed; a damaged one is put anew. Its index, in the file's own
metadata, names each shard and the version of the manifest that was copied: a copy counts only while a listing shows
that very version. So a manifest that is replaced, removed or restored makes nothing wrong, and needs nobody to know of
segments.

A segment whose manifests were removed on purpose has a mark beside it, and its copies count for good, but for those
with failed records: their manifests are never removed, since a retry may be about to replace them. No job replaces the
others, so a manifest that comes to lie beside one of these, out of a backup, from a copy that was made before or of a
worker that woke up late, says nothing newer.
"""

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Shard, digest
from darkroom.runs.files import COMPACTED_PREFIX, parse_segment_key, segment_key
from darkroom.storage.store import NotFound, Store, StoreError

_GROUP_ROWS = 4096  # records that are read at once, and held while shards of several segments alternate
_MARK = ".collected"
_INDEX = b"darkroom.index"
_INDEX_SCHEMA = pa.schema(
    [
        ("start", pa.int64()),
        ("stop", pa.int64()),
        ("shard_id", pa.string()),
        ("version", pa.string()),
        ("written", pa.timestamp("us", tz="UTC")),
        ("num_rows", pa.int64()),
        ("num_failed", pa.int64()),
        ("group", pa.int64()),
        ("offset", pa.int64()),
        ("about", pa.map_(pa.binary(), pa.binary())),
    ]
)


class Unreadable(ValueError):
    """A segment is gone or damaged: its manifests say the same, where they are there."""


@dataclass(frozen=True, eq=False)
class Copied:
    """A manifest that goes into a segment."""

    shard: Shard
    version: str  # of the manifest, as listings tell it
    written: datetime  # likewise
    num_failed: int
    table: pa.Table  # as it is stored, with its metadata


@dataclass(frozen=True, slots=True)
class Entry:
    """Where in a segment a shard's records are, and of which manifest they are a copy."""

    shard: Shard
    version: str
    written: datetime
    num_rows: int
    num_failed: int
    group: int  # row group
    offset: int  # rows into it
    about: Mapping[bytes, bytes]  # the metadata of the manifest's schema


@dataclass(frozen=True)
class Segment:
    """A segment as a listing shows it."""

    key: str
    cell_id: str
    start: int  # no shard's rows lie before it ...
    stop: int  # ... nor from here on
    size_bytes: int
    is_collected: bool  # it is marked

    @property
    def mark_key(self) -> str:
        return f"{self.key}{_MARK}"


def listed_segments(store: Store, cell_id: str | None = None) -> list[Segment]:
    """In order of key. Raises DarkroomError where a mark is left of one that is gone."""
    prefix = COMPACTED_PREFIX if cell_id is None else f"{COMPACTED_PREFIX}{cell_id}/"
    sizes = {info.key: info.size_bytes for info in store.list(prefix)}
    for marked in [key.removesuffix(_MARK) for key in sizes if key.endswith(_MARK)]:
        if marked not in sizes and parse_segment_key(marked):
            sizes[marked] = _size(store, marked)
    found = [(key, parse_segment_key(key), size) for key, size in sorted(sizes.items())]
    return [Segment(key, *name, size, f"{key}{_MARK}" in sizes) for key, name, size in found if name]


def _size(store: Store, key: str) -> int:
    """Of a marked segment that a listing did not show: it may have been put while that was under way."""
    try:
        return store.get_with_info(key)[1].size_bytes
    except NotFound:
        raise unreadable(store, key, "gone") from None


def unreadable(store: Store, key: str, how: str = "not readable") -> DarkroomError:
    """What is said of a marked segment."""
    return DarkroomError(
        f"{store.describe(key)}: {how}, and the manifests that it copies were removed; restore it, or remove it and "
        f"{key}{_MARK} and give the command that made the run again: it adopts the stored images"
    )


def mark_collected(store: Store, segment: Segment) -> None:
    store.put_if_absent(segment.mark_key, b"")


# Writing -----------------------------------------------------------------------------------------------------------


def put_segment(store: Store, copied: Sequence[Copied]) -> str:
    """Store manifests of one cell and one schema as a segment; its key. Equal ones are one object."""
    shards = [each.shard for each in copied]
    name = digest("segment", [[each.shard.shard_id, each.version] for each in copied], length=16)
    start, stop = min(shard.start for shard in shards), max(shard.stop for shard in shards)
    key = segment_key(shards[0].cell_id, start, stop, name)
    data = _to_bytes(copied)
    if not store.put_if_absent(key, data) and not _is_whole(store, shards[0].cell_id, key):
        store.put(key, data)
    return key


def _is_whole(store: Store, cell_id: str, key: str) -> bool:
    found = [segment for segment in listed_segments(store, cell_id) if segment.key == key]
    with suppress(Unreadable):
        return bool([opened_whole(store, segment) for segment in found])
    return False


def _to_bytes(copied: Sequence[Copied]) -> bytes:
    buffer = io.BytesIO()
    index: list[dict[str, object]] = []
    schema = copied[0].table.schema.remove_metadata()
    with pq.ParquetWriter(buffer, schema, compression="zstd", write_page_checksum=True) as writer:
        for number, group in enumerate(_groups(copied)):
            tables = [each.table.replace_schema_metadata(None) for each in group]
            writer.write_table(pa.concat_tables(tables), row_group_size=max(1, sum(map(len, tables))))
            index += _index_rows(number, group)
        table = pa.Table.from_pylist(index, schema=_INDEX_SCHEMA)
        inner = io.BytesIO()
        pq.write_table(table, inner, compression="zstd", write_page_checksum=True)
        writer.add_key_value_metadata({_INDEX: base64.b64encode(inner.getvalue())})
    return buffer.getvalue()


def _groups(copied: Iterable[Copied]) -> Iterator[list[Copied]]:
    """Whole shards, about as many rows as are read at once."""
    group: list[Copied] = []
    num_rows = 0
    for each in copied:
        group.append(each)
        num_rows += len(each.table)
        if num_rows >= _GROUP_ROWS:
            yield group
            group, num_rows = [], 0
    if group:
        yield group


def _index_rows(number: int, group: Sequence[Copied]) -> Iterator[dict[str, object]]:
    offset = 0
    for each in group:
        yield {
            "start": each.shard.start,
            "stop": each.shard.stop,
            "shard_id": each.shard.shard_id,
            "version": each.version,
            "written": each.written,
            "num_rows": len(each.table),
            "num_failed": each.num_failed,
            "group": number,
            "offset": offset,
            "about": list((each.table.schema.metadata or {}).items()),
        }
        offset += len(each.table)


# Reading -------------------------------------------------------------------------------------------------------------


class OpenSegment:
    """A segment with its index. Raises Unreadable, as reading from it does. Safe for threads."""

    def __init__(self, store: Store, segment: Segment) -> None:
        self.segment = segment
        self._store = store
        self._metadata: pq.FileMetaData | None = None
        with _readable(segment):
            file = self._opened()
            self._metadata = file.metadata
            self.column_names: Sequence[str] = file.schema_arrow.names
            rows = pq.read_table(
                io.BytesIO(base64.b64decode(file.metadata.metadata[_INDEX])), page_checksum_verification=True
            ).to_pylist()
        self.entries = [_entry(segment.cell_id, row) for row in rows]

    def num_rows(self, group: int) -> int:
        assert self._metadata
        return int(self._metadata.row_group(group).num_rows)

    def read(self, group: int, columns: Sequence[str] | None) -> pa.Table:
        """A row group's records, or some of their columns, as they are stored."""
        with _readable(self.segment):
            return self._opened().read_row_group(group, columns, use_threads=False)

    def _opened(self) -> pq.ParquetFile:
        return pq.ParquetFile(
            pa.PythonFile(_Ranges(self._store, self.segment), "r"),
            metadata=self._metadata,
            pre_buffer=True,
            page_checksum_verification=True,
        )


def opened_whole(store: Store, segment: Segment) -> OpenSegment:
    """All of its records are read, and dropped. Raises Unreadable where they are not what was put."""
    opened = OpenSegment(store, segment)
    for group in sorted({entry.group for entry in opened.entries}):
        opened.read(group, None)
    return opened


def _entry(cell_id: str, row: Mapping[str, object]) -> Entry:
    values = dict(row)
    shard = Shard(cell_id, values.pop("start"), values.pop("stop"), values.pop("shard_id"))  # type: ignore[arg-type]
    return Entry(shard, about=dict(values.pop("about")), **values)  # type: ignore[arg-type, call-overload]


@contextmanager
def _readable(segment: Segment) -> Iterator[None]:
    """Turns whatever a damaged or vanished file does into Unreadable."""
    try:
        yield
    except StoreError:
        raise  # the store fails, and the manifests would be no nearer
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        raise Unreadable(segment.key) from error


class _Ranges(io.RawIOBase):
    """An object as a file of which parts are fetched as they are read."""

    def __init__(self, store: Store, segment: Segment) -> None:
        self._store, self._key, self._size, self._at = store, segment.key, segment.size_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._size, self._at + size)
        data = self._store.get_range(self._key, self._at, stop) if stop > self._at else b""
        self._at += len(data)
        return data
