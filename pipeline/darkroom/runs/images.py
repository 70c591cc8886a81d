"""Files of committed images: read, compared byte by byte with what their records say, and put back.

Each object is fetched once, however many images lie in it. Repair changes no record, ever: only bytes with the recorded
digest are written, so concurrent readers and repairs see right ones.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Cell
from darkroom.domain.records import OK, Record
from darkroom.runs import manifest
from darkroom.runs.bulk import read_each
from darkroom.runs.cells import CellInfo, cell_of
from darkroom.runs.commands import on_run
from darkroom.runs.encoding import (
    CONTENT_TYPES,
    EncodedImage,
    Indexed,
    decode,
    index_parquet,
    index_tar,
    ustar_entries,
)
from darkroom.runs.files import SIDECARS_PREFIX
from darkroom.runs.layouts import CONTAINERS, Layout, as_encoded
from darkroom.runs.manifest import extra_columns, to_records
from darkroom.runs.own_columns import joined, json_rows, own_columns
from darkroom.runs.reading import model_as_recorded, recorded_request
from darkroom.runs.run import OutputInfo
from darkroom.storage.store import NotFound, Store, StoreError, prefetched

_MISSING = "its file is missing"
_NO_KEY = "its record names no key that a run has"
_BROKEN = "its container is broken there"
_USUAL_BYTES = 4 << 20  # of an object that is read

Rendered = Mapping[str, bytes | None]  # image_id -> its file, made again; None where that failed


# Reading -----------------------------------------------------------------------------------------------------------


def image_bytes(store: Store, record: Record) -> bytes:
    """A committed image's file, out of its container where it lies in one."""
    return with_bytes(store, [record])[0][1]


def with_bytes(store: Store, wanted: Sequence[Record]) -> list[tuple[Record, bytes]]:
    """Records with their images' files; an object that holds several is fetched once."""
    files: dict[str, bytes] = {}
    for key, group in by_key(wanted).items():
        try:
            found = _images_in(store.get(key), key, group)
            files |= {record.image_id: found[record.image_id] for record in group}
        except KeyError:  # NotFound is one too
            raise DarkroomError(
                f"{store.describe(key)}: an image that is committed is missing; bring it back with "
                f"`{on_run('repair', store.spec)}`"
            ) from None
    return [(record, files[record.image_id]) for record in wanted]


def by_key(wanted: Iterable[Record]) -> dict[str, list[Record]]:
    """Key of an object -> the records of it."""
    groups: dict[str, list[Record]] = {}
    for record in wanted:
        groups.setdefault(record.key or "", []).append(record)
    return groups


@dataclass(frozen=True)
class StoredFile:
    """An image's file as it is stored, and what is wrong with it."""

    record: Record
    data: bytes
    sha256: str  # of the data; "" where there is none
    fault: str | None = None  # why it is not the image that was committed

    def pixels(self) -> np.ndarray:
        """(height, width, 3) uint8 RGB. Raises DarkroomError for what is not the image that was committed."""
        if self.fault:
            raise DarkroomError(self.fault)
        return decode(self.data)


def stored_files(store: Store, wanted: Sequence[Record]) -> list[StoredFile]:
    """Images' files, each compared with its record's digest; an object that holds several is fetched once."""
    objects = prefetched(by_key(wanted).items(), lambda item: _of_object(store, *item), size=_size)
    found = {file.record.image_id: file for files in objects for file in files}
    return [found[record.image_id] for record in wanted]


def _size(item: tuple[str, Sequence[Record]]) -> int:
    """Of an object, in units of _USUAL_BYTES: a few containers are read ahead, and many single images."""
    return 1 + sum(record.bytes or 0 for record in item[1]) // _USUAL_BYTES


def first_images(store: Store, count: int) -> list[StoredFile]:
    """The first images in order of rows, from as few shards as hold them; those that cannot be had are named."""
    found: list[StoredFile] = []
    for shard in manifest.committed(store):  # one by one: the first few hold enough
        ok = [record for record in to_records(manifest.read(store, shard)) if record.status == OK]
        found += stored_files(store, ok[: count - len(found)])
        if len(found) >= count:
            break
    return found


def _of_object(store: Store, key: str, group: Sequence[Record]) -> list[StoredFile]:
    data = object_bytes(store, key)
    if isinstance(data, str):
        return [StoredFile(record, b"", "", data) for record in group]
    files = _images_in(data, key, group)
    return [_compared(record, files.get(record.image_id)) for record in group]


def object_bytes(store: Store, key: str) -> bytes | str:
    """An object that records name, or why it cannot be had. Raises StoreError where the store itself fails."""
    try:
        return store.get(key)
    except StoreError:
        raise
    except DarkroomError as error:  # behind a link
        return str(error)
    except NotFound:
        return _MISSING
    except ValueError:
        return _NO_KEY
    except OSError as error:  # a bad sector, a file without the right to read it
        return f"its file cannot be read ({error.strerror or error})"


def _compared(record: Record, data: bytes | None) -> StoredFile:
    if data is None:
        return StoredFile(record, b"", "", _BROKEN)
    digest = hashlib.sha256(data).hexdigest()
    return StoredFile(record, data, digest, None if digest == record.sha256 else "its file is not what was committed")


def _images_in(data: bytes, key: str, group: Sequence[Record]) -> dict[str, bytes]:
    """image_id -> file, for what of one object can be read."""
    if group[0].member is None:
        return {group[0].image_id: data}
    index = index_tar(data) if key.endswith(".tar") else index_parquet(data)
    return {image_id: found.data for image_id, found in index.items()}


# Signed manifests --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredSidecar:
    """An image's signed manifest as it is stored, and what is wrong with it."""

    record: Record
    data: bytes
    fault: str | None = None  # why it is not what was stored


def signed_records(store: Store) -> Iterator[list[Record]]:
    """The records of each shard that have an image, in a run whose images have signed manifests."""
    for _, table in read_each(store):
        yield [record for record in to_records(table) if record.status == OK]


def stored_sidecars(store: Store, wanted: Sequence[Record]) -> list[StoredSidecar]:
    """Each compared with its record's digest; an object that holds several is fetched once."""
    groups: dict[str, list[Record]] = {}
    for record in wanted:
        groups.setdefault(record.c2pa_key or "", []).append(record)
    objects = prefetched(groups.items(), lambda item: _sidecars_of_object(store, *item))
    found = {sidecar.record.image_id: sidecar for sidecars in objects for sidecar in sidecars}
    return [found[record.image_id] for record in wanted]


def _sidecars_of_object(store: Store, key: str, group: Sequence[Record]) -> list[StoredSidecar]:
    if not key:
        return [StoredSidecar(record, b"", "its record names no signed manifest") for record in group]
    data = object_bytes(store, key)
    if isinstance(data, str):
        return [StoredSidecar(record, b"", f"signed manifest: {data}") for record in group]
    if key.startswith(SIDECARS_PREFIX):
        files = {name.partition(".")[0]: data[start:stop] for name, start, stop in ustar_entries(data)}
    else:
        files = {group[0].image_id: data}
    return [_compared_sidecar(record, files.get(record.image_id)) for record in group]


def _compared_sidecar(record: Record, data: bytes | None) -> StoredSidecar:
    if data is None:
        return StoredSidecar(record, b"", f"signed manifest: {_BROKEN}")
    is_same = hashlib.sha256(data).hexdigest() == record.c2pa_sha256
    return StoredSidecar(record, data, None if is_same else "signed manifest: its file is not what was stored")


# Checking ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredObject:
    """An object that records name, and what is wrong with it."""

    key: str
    cell_id: str
    records: Sequence[Record]  # that name it, in their shard's order
    own: pa.Table | None  # their columns in it, where it has some
    damages: Mapping[str, str]  # image_id -> how it is not what its record says


def stored_objects(store: Store, cells: Mapping[str, CellInfo], output: OutputInfo) -> Iterator[StoredObject]:
    """Every object that a record names, checked; in the memory of one shard's records and a few objects."""
    found = _by_object(store, cells, bool(output.own_columns))
    return prefetched(found, lambda item: _checked(store, output, *item))


def _by_object(
    store: Store, cells: Mapping[str, CellInfo], has_own: bool
) -> Iterator[tuple[Cell, list[Record], pa.Table | None]]:
    """The records of each object, their cell, and the columns that they have in it."""
    for shard, table in read_each(store):
        table = table.filter(pc.equal(table["status"], OK))
        records = to_records(table)
        places = {record.image_id: place for place, record in enumerate(records)}
        own = own_columns(table["prompt_id"].to_pylist(), extra_columns(table)) if has_own else None
        for group in by_key(records).values():
            rows = pa.array([places[record.image_id] for record in group], pa.int64())
            yield cell_of(cells, shard.cell_id), group, own.take(rows) if own is not None else None


def _checked(
    store: Store, output: OutputInfo, cell: Cell, records: Sequence[Record], own: pa.Table | None
) -> StoredObject:
    key = records[0].key or ""
    data = object_bytes(store, key)
    if isinstance(data, str):
        damages = {record.image_id: data for record in records}
    else:
        damages = _damages(data, records, own, cell, output)
    return StoredObject(key, cell.cell_id, records, own, damages)


def _damages(
    data: bytes, records: Sequence[Record], own: pa.Table | None, cell: Cell, output: OutputInfo
) -> dict[str, str]:
    """image_id -> how an object with these bytes is not what these records of it say."""
    layout = CONTAINERS.get(output.layout)
    if layout is None:
        found = {record.image_id: _wrong_image(record, data) for record in records}
    else:
        index, rows = layout.index(data), json_rows(own) if own is not None else [None] * len(records)
        found = {
            record.image_id: _wrong_member(record, index, row, cell, output)
            for record, row in zip(records, rows, strict=True)
        }
    return {image_id: reason for image_id, reason in found.items() if reason}


def _wrong_image(record: Record, data: bytes) -> str | None:
    digest = hashlib.sha256(data).hexdigest()
    return None if digest == record.sha256 else f"recorded {record.sha256}, stored {digest}"


def _wrong_member(
    record: Record, index: Mapping[str, Indexed], row: Mapping[str, Any] | None, cell: Cell, output: OutputInfo
) -> str | None:
    """The image first; then what lies beside it, since a caption trains a model as much as its image does."""
    found = index.get(record.image_id)
    if found is None:
        return _BROKEN
    if (found.member, found.offset) != (record.member, record.offset):
        return f"recorded as {record.member} at {record.offset}, stored as {found.member} at {found.offset}"
    right = _encoded(record, found.data, cell, output)
    settings = right.settings if row is None else joined(right.settings, row)
    texts_are_right = (found.prompt, found.settings) == (right.prompt, settings)
    return _wrong_image(record, found.data) or (None if texts_are_right else "the text stored beside it differs")


# Repairing ---------------------------------------------------------------------------------------------------------


def repair(store: Store, broken: StoredObject, rendered: Rendered, cell: Cell, output: OutputInfo) -> dict[str, str]:
    """Write the object again from its intact images and these; image_id -> why it is still damaged.

    Only bytes with the recorded digest are written, so concurrent readers and repairs see right ones.
    A container is written whole or not at all.
    """
    if _NO_KEY in broken.damages.values():
        return dict(broken.damages)
    damaged = [record for record in broken.records if record.image_id in broken.damages]
    left = {record.image_id: reason for record in damaged if (reason := _not_equal(record, rendered[record.image_id]))}
    if left:
        others = "its container holds another image that could not be made again"
        return {record.image_id: left.get(record.image_id, others) for record in damaged}
    layout = CONTAINERS.get(output.layout)
    content_type = layout.content_type if layout else CONTENT_TYPES[output.image_format]
    data = _whole_container(store, layout, broken, rendered, cell, output) if layout else rendered[damaged[0].image_id]
    assert data is not None
    left = _damages(data, broken.records, broken.own, cell, output)
    if not left:
        store.put(broken.key, data, content_type)
    return left


def _not_equal(record: Record, data: bytes | None) -> str | None:
    if data is None and record.is_seeded is False:
        return "its renderer makes no promise about seeds: what is lost is lost"
    if data is None:
        return "it could not be rendered again"
    digest = hashlib.sha256(data).hexdigest()
    return None if digest == record.sha256 else f"rendered again it is {digest}, and its record says {record.sha256}"


def _whole_container(
    store: Store, layout: Layout, broken: StoredObject, rendered: Rendered, cell: Cell, output: OutputInfo
) -> bytes:
    """Its images in their order; equal members give equal bytes, so this is what was stored at first."""
    has_intact = len(broken.damages) < len(broken.records)
    index = layout.index(store.get(broken.key)) if has_intact else {}
    files = {image_id: found.data for image_id, found in index.items()} | dict(rendered)
    images = [_encoded(record, files[record.image_id] or b"", cell, output) for record in broken.records]
    return layout.write(images, broken.own)


def _encoded(record: Record, data: bytes, cell: Cell, output: OutputInfo) -> EncodedImage:
    model = model_as_recorded(cell.model, record)
    return as_encoded(recorded_request(record, cell), data, model, output, record.scheduler_config)
