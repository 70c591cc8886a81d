"""Compares what is stored with what its records say: every committed image, byte by byte, each object fetched once."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from darkroom.domain.cells import Cell
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import OK, Record
from darkroom.encoding.containers import Indexed
from darkroom.runs import manifest
from darkroom.runs.cells import CellInfo, cell_of
from darkroom.runs.records import to_records
from darkroom.runs.run import OutputInfo
from darkroom.storage.store import NotFound, Store, StoreError
from darkroom.worker.layouts import CONTAINERS
from darkroom.worker.members import as_member
from darkroom.worker.outcomes import called_as_then, recorded_request

NO_KEY = "its record names no key that a run has"
_NUM_READERS = 8  # threads that fetch and digest


@dataclass(frozen=True)
class StoredObject:
    """An object that records name, and what is wrong with it."""

    key: str
    cell_id: str
    records: Sequence[Record]  # that name it, in their shard's order
    damages: Mapping[str, str]  # image_id -> how it is not what its record says


def stored_objects(store: Store, cells: Mapping[str, CellInfo], output: OutputInfo) -> Iterator[StoredObject]:
    """Every object that a record names, looked at; in the memory of one shard's records and a few objects."""
    with ThreadPoolExecutor(_NUM_READERS, "check") as pool:
        for name in manifest.committed(store):
            look = partial(_looked_at, store, cell_of(cells, name.cell_id), output)
            yield from pool.map(look, _by_key(to_records(manifest.read(store, name))))


def _by_key(records: Sequence[Record]) -> list[list[Record]]:
    groups: dict[str | None, list[Record]] = defaultdict(list)
    for record in records:
        if record.status == OK:
            groups[record.key].append(record)
    return list(groups.values())


def _looked_at(store: Store, cell: Cell, output: OutputInfo, records: Sequence[Record]) -> StoredObject:
    key = records[0].key or ""
    try:
        damages = damages_of(store.get(key), records, cell, output)
    except StoreError:
        raise
    except (NotFound, ValueError, OSError) as error:
        damages = {record.image_id: _unread(error) for record in records}
    return StoredObject(key, cell.cell_id, records, damages)


def _unread(error: Exception) -> str:
    if isinstance(error, NotFound):
        return "its object is missing"
    if isinstance(error, OSError):  # a bad sector, a file of somebody else's
        return f"its object cannot be read ({error.strerror or error})"
    return str(error) if isinstance(error, DarkroomError) else NO_KEY


def damages_of(data: bytes, records: Sequence[Record], cell: Cell, output: OutputInfo) -> dict[str, str]:
    """image_id -> how an object with these bytes is not what these records of it say."""
    layout = CONTAINERS.get(output.layout)
    if layout is None:
        found = {record.image_id: _wrong_image(record, data) for record in records}
    else:
        index = layout.index(data)
        found = {record.image_id: _wrong_member(record, index, cell, output) for record in records}
    return {image_id: reason for image_id, reason in found.items() if reason}


def _wrong_image(record: Record, data: bytes) -> str | None:
    digest = hashlib.sha256(data).hexdigest()
    return None if digest == record.sha256 else f"recorded {record.sha256}, stored {digest}"


def _wrong_member(record: Record, index: Mapping[str, Indexed], cell: Cell, output: OutputInfo) -> str | None:
    """The image first; then what lies beside it, since a caption trains a model as much as its image does."""
    found = index.get(record.image_id)
    if found is None:
        return "its container is broken there"
    if (found.member, found.offset) != (record.member, record.offset):
        return f"recorded as {record.member} at {record.offset}, stored as {found.member} at {found.offset}"
    right = as_member(recorded_request(record, cell), found.data, called_as_then(cell.model, record), output)
    texts_are_right = (found.prompt, found.settings) == (right.prompt, right.settings)
    return _wrong_image(record, found.data) or (None if texts_are_right else "the text stored beside it differs")
