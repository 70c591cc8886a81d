"""Compaction: copies manifests into segments, and removes manifests that segments copy, where that is asked for.

Whoever likes compacts: the driver of a job as its shards complete, `darkroom compact` what that left. Segments are only
ever added, and a copy counts by its manifest's version alone, so nothing is locked, several may compact at once, and
one that is killed leaves whole segments. At worst a shard is copied twice.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import TracebackType

import pyarrow as pa

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Shard
from darkroom.domain.records import FAILED
from darkroom.runs.bulk import AT_ONCE
from darkroom.runs.commands import on_run
from darkroom.runs.files import manifest_key
from darkroom.runs.listing import committed_shards
from darkroom.runs.manifest import checked, stored, typed
from darkroom.runs.segments import (
    Copied,
    Entry,
    OpenSegment,
    Segment,
    Unreadable,
    mark_collected,
    opened_whole,
    put_segment,
    unreadable,
)
from darkroom.storage.store import NotFound, Store, prefetched

SEGMENT_ROWS = 65_536  # images of a segment: about 10 MB, and 70 MB while it is written
_LEAST_SHARDS = 16  # of a segment that a driver writes: fewer manifests are no work to read
_ENDING_S = 60.0  # that the end of a job may wait for its segments


@dataclass
class Compaction:
    """What became of a run's manifests."""

    num_before: int = 0  # shards that were copied already
    num_copied: int = 0  # shards
    num_segments: int = 0  # that hold these
    num_left: int = 0  # shards that could not be copied: their manifests are not readable


def compact(store: Store, told: Callable[[int], None] = lambda _: None) -> Compaction:
    """Copy every manifest that no segment copies; `told` hears how many shards are copied so far."""
    found = Compaction()

    def uncopied() -> Iterator[Shard]:
        for each in committed_shards(store):
            if each.copy is None:
                yield each.shard
            else:
                found.num_before += 1

    copy_shards(store, uncopied(), found, told)
    return found


def copy_shards(
    store: Store,
    shards: Iterable[Shard],
    found: Compaction | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> Compaction:
    """Copy the manifests of these shards, those of a cell together, and count it."""
    found = found or Compaction()
    writing = _Writing(store, found, told)
    for copied in prefetched(shards, lambda shard: _copied(store, shard), AT_ONCE):
        if copied:
            writing.add(copied)
        else:
            found.num_left += 1
    writing.flush()
    return found


def _copied(store: Store, shard: Shard) -> Copied | None:
    """None for a manifest that is not readable as records, is gone, or of which the store tells no version."""
    try:
        data, info = store.get_with_info(manifest_key(shard))
    except NotFound:
        return None
    with suppress(pa.ArrowException, OSError, ValueError, LookupError, TypeError):
        table = stored(data)
        records = checked(shard, typed(table))
        num_failed = records["status"].to_pylist().count(FAILED)
        return Copied(shard, info.version, info.modified, num_failed, table) if info.version else None
    return None


@dataclass
class _Writing:
    """Gathers manifests until they fill a segment; those with other columns, or of other types, go into another one."""

    store: Store
    found: Compaction
    told: Callable[[int], None]
    waiting: dict[bytes, list[Copied]] = field(default_factory=dict)  # by schema; of one cell
    num_rows: Counter[bytes] = field(default_factory=Counter)  # of those that wait

    def add(self, copied: Copied) -> None:
        if any(group[0].shard.cell_id != copied.shard.cell_id for group in self.waiting.values()):
            self.flush()
        schema = copied.table.schema.remove_metadata().serialize().to_pybytes()
        self.waiting.setdefault(schema, []).append(copied)
        self.num_rows[schema] += len(copied.table)
        if self.num_rows[schema] >= SEGMENT_ROWS:
            del self.num_rows[schema]
            self._put(self.waiting.pop(schema))

    def flush(self) -> None:
        for group in self.waiting.values():
            self._put(group)
        self.waiting.clear()
        self.num_rows.clear()

    def _put(self, group: list[Copied]) -> None:
        put_segment(self.store, group)
        self.found.num_segments += 1
        self.found.num_copied += len(group)
        self.told(self.found.num_copied)


class Compactor:
    """Copies what a driver's workers commit, by a thread of its own: nothing waits for it, and it fails nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, list[Shard]] = defaultdict(list)  # by cell_id
        self._num_images: Counter[str] = Counter()
        self._full: SimpleQueue[list[Shard]] = SimpleQueue()  # an empty list: the end
        self._thread = threading.Thread(target=self._keep_up, name="compact", daemon=True)

    def __enter__(self) -> "Compactor":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._full.put([])
        if kind is None:
            self._thread.join(_ENDING_S)

    def add(self, shard: Shard, num_images: int) -> None:
        """A shard that this driver's worker was the first to commit, so that no other driver copies it."""
        cell_id = shard.cell_id
        self._waiting[cell_id].append(shard)
        self._num_images[cell_id] += num_images
        if self._num_images[cell_id] >= SEGMENT_ROWS and len(self._waiting[cell_id]) >= _LEAST_SHARDS:
            del self._num_images[cell_id]
            self._full.put(sorted(self._waiting.pop(cell_id), key=lambda each: each.start))

    def _keep_up(self) -> None:
        while shards := self._full.get():
            with suppress(Exception):  # what is not copied stays as it is: manifests, which are enough
                copy_shards(self._store, shards)


# Manifests that are copied -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Removable:
    """A segment that may stand for its manifests."""

    segment: Segment
    num_manifests: int  # that are there, and would be removed


def removable_manifests(store: Store) -> list[Removable]:
    """Segments of which every manifest may be removed but those with failed records.

    Those are never removed, and no other is ever written again: a segment whose other copies all count now keeps
    counting for these shards once it is marked. Left out are segments that have shards in common with those which do.
    """
    num_counting, num_there = Counter[str](), Counter[str]()
    totals: dict[str, int] = {}
    found: dict[str, Segment] = {}
    for each in committed_shards(store):
        if each.copy and not each.copy.entry.num_failed:
            opened = each.copy.segment
            key = opened.segment.key
            if key not in totals:
                totals[key], found[key] = len(_removable_entries(opened)), opened.segment
            num_counting[key] += 1
            num_there[key] += each.has_manifest
    return [
        Removable(segment, num_there[key])
        for key, segment in found.items()
        if num_there[key] and num_counting[key] == totals[key]
    ]


def remove_manifests(store: Store, removable: Iterable[Removable]) -> None:
    """Mark first: who lists manifests and then segments sees each shard by one of them.

    Raises DarkroomError for a segment of which not all can be read, or that says other than they do; they stay.
    """
    for segment in (each.segment for each in removable):
        try:
            if segment.is_collected:  # its copies count, whatever lies beside them
                opened = opened_whole(store, segment)
            else:
                opened = OpenSegment(store, segment)
                _check_copies(store, opened)
        except Unreadable as error:
            raise _damaged(store, segment) from error
        mark_collected(store, segment)
        store.delete(manifest_key(entry.shard) for entry in _removable_entries(opened))


def _check_copies(store: Store, opened: OpenSegment) -> None:
    """Read all of it. Raises Unreadable also where a copy says other than its manifest: Parquet's footer has no
    checksum."""
    by_group = sorted(opened.entries, key=lambda entry: entry.group)

    def with_manifest(entry: Entry) -> tuple[Entry, Copied | None]:
        return entry, None if entry.num_failed else _copied(store, entry.shard)  # a retry may replace those

    group, table = -1, pa.table({})
    for entry, copied in prefetched(by_group, with_manifest, AT_ONCE):
        if entry.group != group:
            group, table = entry.group, opened.read(entry.group, None)
        if copied and not _says_same(entry, table.slice(entry.offset, entry.num_rows), copied.table):
            raise Unreadable(opened.segment.key)


def _says_same(entry: Entry, copy: pa.Table, manifest: pa.Table) -> bool:
    """The second comparison of records is slow, and takes NaN for NaN."""
    is_same = entry.about == (manifest.schema.metadata or {}) and copy.schema.equals(manifest.schema)
    return is_same and (copy.equals(manifest) or repr(copy.to_pylist()) == repr(manifest.to_pylist()))


def _damaged(store: Store, segment: Segment) -> DarkroomError:
    if segment.is_collected:
        return unreadable(store, segment.key)
    return DarkroomError(
        f"{store.describe(segment.key)}: not readable, or not what the manifests say that it copies, which are there; "
        f"remove it, and give `{on_run('compact', store.spec)}` before they are removed"
    )


def _removable_entries(opened: OpenSegment) -> list[Entry]:
    return [entry for entry in opened.entries if not entry.num_failed]
