"""Reading a run: its records and images, always by way of its manifests. What none of them names does not exist."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.encoding.containers import index_parquet, index_tar
from pipeline.runs import manifest
from pipeline.runs.keys import ManifestName
from pipeline.runs.records import OK, Record, to_records
from pipeline.runs.run import RunInfo
from pipeline.storage.store import Store


@dataclass
class RunState:
    """What is committed and what is left."""

    num_shards: int  # of the whole run
    committed: list[ManifestName]
    num_rows_left: int
    by_status: Counter[str] = field(default_factory=Counter)  # records
    errors: Counter[str] = field(default_factory=Counter)  # reasons of records that are not ok
    num_truncated: int = 0
    num_bytes: int = 0

    @property
    def is_complete(self) -> bool:
        return len(self.committed) == self.num_shards


def state(store: Store, run: RunInfo) -> RunState:
    """Count every committed record by its status, from the few columns that say so."""
    committed = list(manifest.committed(store))
    num_rows = run.prompts.num_rows
    left = num_rows - sum(name.stop - name.start for name in committed)
    found = RunState(-(-num_rows // run.shard_size), committed, left)
    for name in committed:
        table = manifest.read(store, name, ["status", "error", "truncated", "bytes"])
        found.by_status.update(table["status"].to_pylist())
        found.errors.update(error for error in table["error"].to_pylist() if error)
        found.num_truncated += sum(table["truncated"].to_pylist())
        found.num_bytes += sum(size or 0 for size in table["bytes"].to_pylist())
    return found


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


def first_images(store: Store, count: int) -> list[tuple[Record, bytes]]:
    """The first images in order of rows, with their bytes, from as few shards as hold them."""
    found: list[tuple[Record, bytes]] = []
    for name in manifest.committed(store):
        ok = [record for record in to_records(manifest.read(store, name)) if record.status == OK]
        found += _with_bytes(store, ok[: count - len(found)])
        if len(found) >= count:
            break
    return found


def image_bytes(store: Store, record: Record) -> bytes:
    """A committed image's file, out of its container where it lies in one."""
    return _with_bytes(store, [record])[0][1]


def _with_bytes(store: Store, wanted: Sequence[Record]) -> list[tuple[Record, bytes]]:
    """Records with their images' files; an object that holds several is fetched once."""
    by_key: dict[str, list[Record]] = {}
    for record in wanted:
        by_key.setdefault(record.key or "", []).append(record)
    files: dict[str, bytes] = {}
    for key, group in by_key.items():
        files |= _files(store.get(key), key, group)
    return [(record, files[record.image_id]) for record in wanted]


def _files(data: bytes, key: str, group: Sequence[Record]) -> dict[str, bytes]:
    """image_id -> file, for images of one object."""
    if group[0].member is None:
        return {group[0].image_id: data}
    index = index_tar(data) if key.endswith(".tar") else index_parquet(data)
    return {record.image_id: index[record.image_id].data for record in group}
