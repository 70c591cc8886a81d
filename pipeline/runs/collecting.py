"""Marks shards while unnamed objects are removed, so that none of those can come to be named meanwhile.

Only a retry makes a committed shard name other objects, and it replaces the manifest by compare-and-swap against the
bytes that it read at its start. So whoever removes objects first marks every manifest that a retry may replace, by
compare-and-swap too, then looks at what the marked ones name, and removes the rest:
- an attempt that read before the mark cannot commit any more, whatever it has stored or adopted;
- one that committed before the mark is seen, and what it names stays;
- one that reads later meets the mark and gives up before it stores or adopts anything.
Taking the mark away leaves other bytes than were there before, so an attempt that slept through all of it fails too.
A mark of a process that was killed is void after a time, which is twice what anybody may go on removing for.
"""

import io
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.domain.errors import TryAgain
from pipeline.runs import manifest
from pipeline.runs.keys import ManifestName
from pipeline.storage.store import Store

_BEGUN, _ENDED = "darkroom.collecting", "darkroom.collected"  # in a manifest's metadata
_VOID_AFTER = timedelta(minutes=30)


@dataclass(frozen=True)
class Marked:
    """What may be removed by it, and until when."""

    named: frozenset[str]  # keys that the marked shards name
    begun: datetime

    @property
    def holds(self) -> bool:
        return datetime.now(UTC) - self.begun < _VOID_AFTER / 2


@contextmanager
def marked(store: Store, names: Iterable[ManifestName]) -> Iterator[Marked]:
    """The shards, marked until the end. Raises TryAgain where another process has marked one."""
    begun, files = datetime.now(UTC), dict[ManifestName, bytes]()
    stamp = f"{begun.isoformat()} {uuid.uuid4().hex}"
    try:
        for name in names:
            files[name] = _mark(store, name, stamp)
        keys = (key for data in files.values() for key in manifest.parse(data, ["key"])["key"].to_pylist())
        yield Marked(frozenset(key for key in keys if key), begun)
    finally:
        for name, data in files.items():
            store.replace(name.key, _with(data, {_ENDED: stamp}), expected=data)


def check_unmarked(name: ManifestName, schema: pa.Schema) -> None:
    """For whoever is to replace this manifest. Raises TryAgain where objects are being removed."""
    began, _, _ = manifest.texts(schema).get(_BEGUN, "").partition(" ")
    until = datetime.fromisoformat(began) + _VOID_AFTER if began else None
    if until and datetime.now(UTC) < until:
        raise TryAgain(
            f"{name.key}: `darkroom gc` removes objects of this run since {began[:19]} UTC; give the command again "
            f"when it has ended, or, if it was killed, after {until.isoformat()[:19]} UTC"
        )


def _mark(store: Store, name: ManifestName, stamp: str) -> bytes:
    while True:
        before = store.get(name.key)
        check_unmarked(name, pq.read_schema(pa.BufferReader(before)))
        after = _with(before, {_BEGUN: stamp})
        if store.replace(name.key, after, expected=before):
            return after


def _with(data: bytes, said: Mapping[str, str]) -> bytes:
    """The same records in a file that says this of the removal, and nothing of earlier ones."""
    table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    kept = {key: value for key, value in (table.schema.metadata or {}).items() if key.decode() not in (_BEGUN, _ENDED)}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({**kept, **said}), buffer, compression="zstd")
    return buffer.getvalue()
