"""Trajectories of committed images: which records have one, and their files, compared with what the records say."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from darkroom.domain.records import Record
from darkroom.runs.bulk import read_each
from darkroom.runs.images import object_bytes
from darkroom.runs.listing import committed_shards
from darkroom.runs.manifest import to_records
from darkroom.runs.run import RunInfo
from darkroom.storage.store import Store, prefetched


@dataclass(frozen=True)
class StoredTrajectory:
    """A file as it is stored, and what is wrong with it."""

    record: Record
    data: bytes
    fault: str | None = None  # why it is not the one that was committed

    @property
    def key(self) -> str:
        return self.record.trajectory_key or ""


def recorded_trajectories(store: Store, run: RunInfo) -> Iterator[Record]:
    """Records that name one, in order of cells and rows, from the few shards that have such rows."""
    starts = _starts(run)
    shards = (found for found in committed_shards(store) if found.shard.start in starts) if starts else ()
    for _, table in read_each(store, shards):
        yield from (record for record in to_records(table) if record.trajectory_key)


def stored_trajectories(store: Store, records: Iterable[Record]) -> Iterator[StoredTrajectory]:
    """Of records that name one; each compared with its record's digest."""
    return prefetched(records, lambda record: _stored(store, record))


def is_recorded(record: Record, data: bytes | None) -> bool:
    """Whether these bytes are the trajectory that the record names."""
    return data is not None and hashlib.sha256(data).hexdigest() == record.trajectory_sha256


def _starts(run: RunInfo) -> frozenset[int]:
    """Of shards with rows whose images have one."""
    num_rows, found = run.output.trajectory_prompts or 0, set[int]()
    for part in run.parts:
        found.update(range(part.start, min(part.stop, part.start + num_rows - part.first_row), run.shard_size))
    return frozenset(found)


def _stored(store: Store, record: Record) -> StoredTrajectory:
    data = object_bytes(store, record.trajectory_key or "")
    if isinstance(data, str):
        return StoredTrajectory(record, b"", data)
    return StoredTrajectory(record, data, None if is_recorded(record, data) else "its file is not what was committed")
