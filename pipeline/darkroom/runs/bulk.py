"""The records of many shards, in order: from segments where these copy them, else from manifests, many at a time."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import pyarrow as pa

from darkroom.domain.identity import Shard
from darkroom.runs.listing import Committed, committed_shards
from darkroom.runs.manifest import Columns, cut, read, read_group
from darkroom.runs.segments import OpenSegment, Unreadable, unreadable
from darkroom.storage.store import Store, prefetched

AT_ONCE = 32  # requests under way: a store far away answers each after tens of milliseconds
_MOST_BYTES = 256 << 20  # of row groups of which only a part was read yet: shards of several segments may alternate


@dataclass(frozen=True, eq=False)
class Part:
    """Shards that follow each other, and their records in this order."""

    shards: Sequence[Committed]
    table: pa.Table

    def each(self) -> Iterator[tuple[Shard, pa.Table]]:
        """Shard by shard, as `manifest.read` gives them."""
        entries = [committed.copy.entry for committed in self.shards if committed.copy]
        if not entries:
            yield self.shards[0].shard, self.table
        for entry in entries:
            yield entry.shard, cut(self.table, entry, entries[0].offset)


def read_each(
    store: Store,
    shards: Iterable[Committed] | None = None,
    columns: Columns = None,
    groups: "Groups | None" = None,
) -> Iterator[tuple[Shard, pa.Table]]:
    """Shards, in order, with their records; None: all of the run. `groups`: see `read_parts`."""
    return (found for part in read_parts(store, shards, columns, groups) for found in part.each())


def read_parts(
    store: Store,
    shards: Iterable[Committed] | None = None,
    columns: Columns = None,
    groups: "Groups | None" = None,
) -> Iterator[Part]:
    """The same, several shards at once where a segment has them side by side.

    `groups`: shared by calls that read the same columns of shards which follow each other.
    """
    groups = groups or Groups(columns)
    spans = _spans(committed_shards(store) if shards is None else shards)
    for parts in prefetched(spans, lambda span: _read(store, span, columns, groups), AT_ONCE, _size):
        yield from parts


def _spans(shards: Iterable[Committed]) -> Iterator[list[Committed]]:
    """Shards that follow each other in one row group; others alone."""
    span: list[Committed] = []
    for committed in shards:
        if span and not _follows(committed, span[-1]):
            yield span
            span = []
        span.append(committed)
    if span:
        yield span


def _size(span: Sequence[Committed]) -> int:
    return 1 + len(span) // 8


def _follows(committed: Committed, last: Committed) -> bool:
    copy, before = committed.copy, last.copy
    return (
        copy is not None
        and before is not None
        and copy.segment is before.segment
        and copy.entry.group == before.entry.group
        and copy.entry.offset == before.entry.offset + before.entry.num_rows
    )


def _read(store: Store, span: Sequence[Committed], columns: Columns, groups: "Groups") -> list[Part]:
    copy = span[0].copy
    if copy:
        try:
            return [Part(span, groups.rows(copy.segment, span))]
        except Unreadable as error:
            if not all(committed.has_manifest for committed in span):
                raise unreadable(store, copy.segment.segment.key) from error
    alone = [Committed(each.shard, each.written, each.has_manifest, None) for each in span]
    return [Part([each], read(store, each.shard, columns, is_listed=True)) for each in alone]


class Groups:
    """Row groups of segments, each read once and held until all of its rows were asked for. Safe for threads."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._lock = threading.Lock()
        self._held: dict[tuple[str, int], Future[pa.Table]] = {}
        self._num_asked: Counter[tuple[str, int]] = Counter()  # rows

    def rows(self, segment: OpenSegment, span: Sequence[Committed]) -> pa.Table:
        """Of shards that follow each other in one row group."""
        entries = [committed.copy.entry for committed in span if committed.copy]
        num_rows = sum(entry.num_rows for entry in entries)
        table = self._group(segment, entries[0].group, num_rows)
        return table.slice(entries[0].offset, num_rows)

    def _group(self, segment: OpenSegment, group: int, num_rows: int) -> pa.Table:
        key = segment.segment.key, group
        with self._lock:
            found = self._held.get(key)
            future: Future[pa.Table] = found or Future()
            self._held[key] = future
            self._num_asked[key] += num_rows
            if self._num_asked[key] >= segment.num_rows(group):
                self._forget(key)
        if not found:
            try:
                future.set_result(read_group(segment, group, self._columns))
            except BaseException as error:
                future.set_exception(error)
            with self._lock:
                self._make_room()
        return future.result()

    def _make_room(self) -> None:
        """Forget what was asked for first."""
        sizes = {key: future.result().nbytes for key, future in self._held.items() if _is_table(future)}
        total = sum(sizes.values())
        for key, size in sizes.items():
            if total <= _MOST_BYTES:
                return
            self._forget(key)
            total -= size

    def _forget(self, key: tuple[str, int]) -> None:
        self._held.pop(key, None)
        self._num_asked.pop(key, None)


def _is_table(future: "Future[pa.Table]") -> bool:
    return future.done() and future.exception() is None
