"""Which shards are committed, and where their records are read: in a manifest, or in a segment that copies it.

A shard is committed whose manifest is listed, or of which a marked segment has a copy that counts for good
(`runs/segments.py`). Manifests are listed first, and segments after them: who removes a manifest marks its segment
before. Read in order of key, a window of manifests at a time, in memory that does not grow with the run.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from darkroom.domain.identity import Shard
from darkroom.runs.files import METADATA_PREFIX, manifest_key, parse_manifest_key
from darkroom.runs.segments import Entry, OpenSegment, Segment, Unreadable, listed_segments, unreadable
from darkroom.storage.store import ObjectInfo, Store, prefetched

_FIRST_WINDOW, _WINDOW = 1000, 8000  # manifests; the first as a store answers one request


@dataclass(frozen=True, slots=True)
class Copy:
    """The records of a shard in a segment."""

    segment: OpenSegment
    entry: Entry


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed shard."""

    shard: Shard
    written: datetime  # its manifest, last; UTC
    has_manifest: bool
    copy: Copy | None  # what says the same as the manifest, if there is one


def committed_shards(store: Store, cell_id: str | None = None, with_copies: bool = True) -> Iterator[Committed]:
    """In order of key. `with_copies=False`: copies that count only beside a manifest are not looked for."""
    prefix = METADATA_PREFIX if cell_id is None else f"{METADATA_PREFIX}{cell_id}/"
    manifests = ((shard, info) for info in store.list(prefix) if (shard := parse_manifest_key(info.key)))
    segments = _Segments(store, cell_id, with_copies)
    after, size = "", _FIRST_WINDOW
    while True:
        window = list(islice(manifests, size))
        upto = window[-1][1].key if len(window) == size else None
        yield from segments.merged(window, after, upto)
        if upto is None:
            return
        after, size = upto, _WINDOW


def copy_of(store: Store, shard: Shard) -> Copy | None:
    """What stands for a shard's manifest, whether or not one is there; None where nothing does."""
    for segment in listed_segments(store, shard.cell_id):
        if segment.is_collected and segment.start <= shard.start < segment.stop:
            opened = _opened(store, segment)
            for entry in opened.entries if opened else ():
                if entry.shard == shard and not entry.num_failed:
                    return Copy(opened, entry)  # type: ignore[arg-type]
    return None


class _Segments:
    """Those of one cell or of all, opened as the listing of manifests comes to their rows."""

    def __init__(self, store: Store, cell_id: str | None, with_copies: bool) -> None:
        self._store = store
        self._cell_id = cell_id
        self._with_copies = with_copies
        self._opened: dict[str, OpenSegment | None] = {}

    def merged(self, window: Sequence[tuple[Shard, ObjectInfo]], after: str, upto: str | None) -> Iterator[Committed]:
        """The manifests of a window, and the shards with keys in (after, upto] that have copies for good."""
        there = {info.key: (shard, info) for shard, info in window}
        final: dict[str, Copy] = {}
        equal: dict[str, Copy] = {}
        for segment, opened in self._open(after, upto):
            for entry in opened.entries:
                key = manifest_key(entry.shard)
                if key <= after or (upto is not None and key > upto):
                    continue
                if segment.is_collected and not entry.num_failed:
                    final.setdefault(key, Copy(opened, entry))
                elif key in there and there[key][1].version == entry.version:
                    equal.setdefault(key, Copy(opened, entry))
        for key in sorted({*there, *final}):
            if copy := final.get(key):
                yield Committed(copy.entry.shard, copy.entry.written, key in there, copy)
            else:
                shard, info = there[key]
                yield Committed(shard, info.modified, True, equal.get(key))

    def _open(self, after: str, upto: str | None) -> list[tuple[Segment, OpenSegment]]:
        wanted = [
            segment
            for segment in listed_segments(self._store, self._cell_id)
            if (self._with_copies or segment.is_collected) and _overlaps(segment, after, upto)
        ]
        keys = {segment.key for segment in wanted}
        self._opened = {key: opened for key, opened in self._opened.items() if key in keys}
        missing = [segment for segment in wanted if segment.key not in self._opened]
        for segment, opened in zip(missing, prefetched(missing, lambda one: _opened(self._store, one)), strict=True):
            self._opened[segment.key] = opened
        return [(segment, opened) for segment in wanted if (opened := self._opened[segment.key])]


def _overlaps(segment: Segment, after: str, upto: str | None) -> bool:
    """Whether a manifest of it may have a key in (after, upto]."""
    first, last = (f"{METADATA_PREFIX}{segment.cell_id}/{row:012d}" for row in (segment.start, segment.stop))
    return last > after and (upto is None or first <= upto)


def _opened(store: Store, segment: Segment) -> OpenSegment | None:
    """None where it cannot be read, and the manifests it copies are there. Raises DarkroomError where they are not."""
    try:
        return OpenSegment(store, segment)
    except Unreadable as error:
        if segment.is_collected:
            raise unreadable(store, segment.key) from error
        return None


class ShardSet(Container[Shard]):
    """Shards of one run, which has one in each cell for each range of `shard_size` rows."""

    def __init__(self, shard_size: int, shards: Iterable[Shard] = ()) -> None:
        self.num_rows = 0
        self._shard_size = shard_size
        self._there: dict[str, bytearray] = {}  # by cell_id: 1 where the shard of this number is in it
        for shard in shards:
            self.add(shard)

    def add(self, shard: Shard) -> None:
        there, number = self._there.setdefault(shard.cell_id, bytearray()), shard.start // self._shard_size
        if number >= len(there):
            there.extend(bytes(max(number + 1 - len(there), len(there))))
        self.num_rows += 0 if there[number] else shard.num_rows
        there[number] = 1

    def __contains__(self, shard: object) -> bool:
        assert isinstance(shard, Shard)
        there, number = self._there.get(shard.cell_id, b""), shard.start // self._shard_size
        return number < len(there) and bool(there[number])

    def __len__(self) -> int:
        return sum(map(self.count, self._there))

    def num_outside(self, *others: "ShardSet") -> int:
        """How many are in none of these."""
        count = 0
        for cell_id, there in self._there.items():
            left = int.from_bytes(there, "little")
            for other in others:
                left &= ~int.from_bytes(other._there.get(cell_id, b""), "little")
            count += left.bit_count()
        return count

    def count(self, cell_id: str) -> int:
        """Of one cell."""
        return self._there.get(cell_id, b"").count(1)
