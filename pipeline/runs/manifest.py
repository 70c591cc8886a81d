"""Manifests: the Parquet file of a shard's records, whose presence is what makes the shard committed.

Written last and conditionally, so a shard's images and records become visible together or not at all.
"""

import io
from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.domain.shards import Shard
from pipeline.runs.keys import METADATA_PREFIX, ManifestName, manifest_key, parse_manifest_key
from pipeline.runs.records import RECORD_SCHEMA
from pipeline.storage.store import Store

_OWN_COLUMNS = frozenset(RECORD_SCHEMA.names)


def committed(store: Store, cell_id: str | None = None) -> Iterator[ManifestName]:
    """Names of the committed shards, of one cell or of all, from a listing alone, in order of key."""
    prefix = METADATA_PREFIX if cell_id is None else f"{METADATA_PREFIX}{cell_id}/"
    names = (parse_manifest_key(info.key) for info in store.list(prefix))
    return (name for name in names if name)


def commit(store: Store, shard: Shard, table: pa.Table) -> bool:
    """Make a shard visible. False when another attempt has committed it already; its records stand."""
    return store.put_if_absent(manifest_key(shard), _to_bytes(table))


def read(store: Store, name: ManifestName, columns: Sequence[str] | None = None) -> pa.Table:
    return parse(store.get(name.key), columns)


def read_with_extras(store: Store, name: ManifestName, own: Collection[str]) -> pa.Table:
    """Some of the records' own columns, and every other one that the prompt file brought."""
    file = pq.ParquetFile(io.BytesIO(store.get(name.key)))
    return file.read([column for column in file.schema_arrow.names if column in own or column not in _OWN_COLUMNS])


def revise(store: Store, name: ManifestName, before: bytes, table: pa.Table) -> bool:
    """Replace a manifest that still is `before`. False when somebody else replaced it first."""
    return store.replace(name.key, _to_bytes(table), expected=before)


def _to_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def parse(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The records in a manifest's bytes."""
    return pq.read_table(io.BytesIO(data), columns=None if columns is None else list(columns))
