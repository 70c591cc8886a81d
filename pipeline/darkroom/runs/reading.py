"""Reading a run: its records and images, always by way of its manifests. What none of them names does not exist."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import OK, Record
from darkroom.encoding.containers import index_parquet, index_tar
from darkroom.encoding.images import decode
from darkroom.runs import manifest
from darkroom.runs.ahead import read_ahead
from darkroom.runs.commands import on_run
from darkroom.runs.keys import ManifestName
from darkroom.runs.records import to_records
from darkroom.runs.run import RunInfo
from darkroom.storage.store import NotFound, Store, StoreError

_MAX_REASONS = 1000  # told apart, so that counting them takes little memory whatever fails


@dataclass
class CellState:
    """What of one cell is committed and what is left."""

    num_shards: int  # of the whole cell
    num_rows_left: int
    committed: list[ManifestName] = field(default_factory=list)
    by_status: Counter[str] = field(default_factory=Counter)  # records
    errors: Counter[str] = field(default_factory=Counter)  # reasons of records that are not ok
    num_truncated: int = 0
    num_bytes: int = 0


def states(store: Store, run: RunInfo, cell_ids: Iterable[str]) -> dict[str, CellState]:
    """Each cell's state: every committed record counted by its status, from the few columns that say so."""
    num_rows = run.prompts.num_rows
    found = {cell_id: CellState(-(-num_rows // run.shard_size), num_rows) for cell_id in cell_ids}
    names = (name for name in manifest.committed(store) if name.cell_id in found)
    for name, table in _tables(store, names, ["status", "error", "truncated", "bytes"]):
        _count(found[name.cell_id], name, table)
    return found


def _count(state: CellState, name: ManifestName, table: pa.Table) -> None:
    state.committed.append(name)
    state.num_rows_left -= name.stop - name.start
    state.by_status.update(table["status"].to_pylist())
    for error in filter(None, table["error"].to_pylist()):
        state.errors[error if len(state.errors) < _MAX_REASONS or error in state.errors else "other reasons"] += 1
    state.num_truncated += sum(table["truncated"].to_pylist())
    state.num_bytes += sum(size or 0 for size in table["bytes"].to_pylist())


def count_statuses(store: Store, names: Iterable[ManifestName]) -> Counter[str]:
    """Records of these shards by their status."""
    tables = _tables(store, names, ["status"])
    return sum((Counter(table["status"].to_pylist()) for _, table in tables), Counter())


def _tables(
    store: Store, names: Iterable[ManifestName], columns: Sequence[str]
) -> Iterator[tuple[ManifestName, pa.Table]]:
    return read_ahead(names, lambda name: (name, manifest.read(store, name, columns)))


def records(store: Store) -> Iterator[Record]:
    """Every committed record, shard by shard."""
    for name in manifest.committed(store):
        yield from to_records(manifest.read(store, name))


def sample(store: Store, count: int, seed: int) -> list[Record]:
    """`count` committed images, or all where there are fewer; which ones depends on the seed and their ids alone."""

    def rank(record: Record) -> str:
        return hashlib.sha256(f"{seed}:{record.image_id}".encode()).hexdigest()

    chosen: list[Record] = []
    for name in manifest.committed(store):
        ok = [record for record in to_records(manifest.read(store, name)) if record.status == OK]
        chosen = sorted(chosen + ok, key=rank)[:count]
    return chosen


def first_images(store: Store, count: int) -> list["StoredFile"]:
    """The first images in order of rows, from as few shards as hold them; those that cannot be had are named."""
    found: list[StoredFile] = []
    for name in manifest.committed(store):
        ok = [record for record in to_records(manifest.read(store, name)) if record.status == OK]
        found += stored_files(store, ok[: count - len(found)])
        if len(found) >= count:
            break
    return found


def image_bytes(store: Store, record: Record) -> bytes:
    """A committed image's file, out of its container where it lies in one."""
    return with_bytes(store, [record])[0][1]


def with_bytes(store: Store, wanted: Sequence[Record]) -> list[tuple[Record, bytes]]:
    """Records with their images' files; an object that holds several is fetched once."""
    files: dict[str, bytes] = {}
    for key, group in by_key(wanted).items():
        try:
            files |= image_files(store.get(key), key, group)
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
    objects = by_key(wanted).items()
    found = {file.record.image_id: file for key, group in objects for file in _of_object(store, key, group)}
    return [found[record.image_id] for record in wanted]


def _of_object(store: Store, key: str, group: Sequence[Record]) -> list[StoredFile]:
    try:
        files = _images_in(store.get(key), key, group)
    except DarkroomError as error:  # behind a link
        return [StoredFile(record, b"", "", str(error)) for record in group]
    except (NotFound, ValueError):  # gone, or no key that a run has
        return [StoredFile(record, b"", "", "its file is missing") for record in group]
    except StoreError:
        raise
    except OSError as error:  # a bad sector, a file of somebody else's
        reason = f"its file cannot be read ({error.strerror or error})"
        return [StoredFile(record, b"", "", reason) for record in group]
    return [_compared(record, files.get(record.image_id)) for record in group]


def _compared(record: Record, data: bytes | None) -> StoredFile:
    if data is None:
        return StoredFile(record, b"", "", "its container is broken there")
    digest = hashlib.sha256(data).hexdigest()
    return StoredFile(record, data, digest, None if digest == record.sha256 else "its file is not what was committed")


def image_files(data: bytes, key: str, group: Sequence[Record]) -> dict[str, bytes]:
    """image_id -> file, for images of one object. Raises KeyError for one that is not in it."""
    found = _images_in(data, key, group)
    return {record.image_id: found[record.image_id] for record in group}


def _images_in(data: bytes, key: str, group: Sequence[Record]) -> dict[str, bytes]:
    """image_id -> file, for what of one object can be read."""
    if group[0].member is None:
        return {group[0].image_id: data}
    index = index_tar(data) if key.endswith(".tar") else index_parquet(data)
    return {image_id: found.data for image_id, found in index.items()}
