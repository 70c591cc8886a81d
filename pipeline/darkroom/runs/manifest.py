"""Manifests: the Parquet file of a shard's records, whose presence is what makes the shard committed.

Written last and conditionally, so a shard's images and records become visible together or not at all.
"""

import io
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.domain.cells import Shard
from darkroom.domain.errors import DarkroomError
from darkroom.runs.keys import METADATA_PREFIX, ManifestName, manifest_key, parse_manifest_key
from darkroom.runs.records import RECORD_SCHEMA, missing_column
from darkroom.storage.store import Store

_OURS = b"darkroom."  # begins the names of a manifest's own metadata
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
    """A shard's records, or some of their columns. Raises DarkroomError for a file that does not hold them."""
    data = store.get(name.key)
    with _named(store, name):
        table = parse(data, columns)
        shard_id = texts(table.schema).get("darkroom.shard_id", name.shard_id)
        if shard_id != name.shard_id:
            raise ValueError(f"they are those of shard {shard_id}")
        return table


def metadata(store: Store, name: ManifestName) -> dict[str, str]:
    """What a shard's file says beside its records."""
    data = store.get(name.key)
    with _named(store, name):
        return texts(pq.read_schema(io.BytesIO(data)))


def texts(schema: pa.Schema) -> dict[str, str]:
    """Our own part of a file's metadata."""
    found = (schema.metadata or {}).items()
    return {key.decode(): value.decode() for key, value in found if key.startswith(_OURS)}


def read_with_extras(store: Store, name: ManifestName, own: Collection[str]) -> pa.Table:
    """Some of the records' own columns, and every other one that the prompt file brought."""
    data = store.get(name.key)
    with _named(store, name):
        names = pq.read_schema(io.BytesIO(data)).names
        return parse(data, [column for column in names if column in own or column not in _OWN_COLUMNS])


def revise(store: Store, name: ManifestName, before: bytes, table: pa.Table) -> bool:
    """Replace a manifest that still is `before`. False when somebody else replaced it first."""
    return store.replace(name.key, _to_bytes(table), expected=before)


def _to_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def parse(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The records in a manifest's bytes, their own columns of their own types."""
    # A tenth of the time of `read_table`, which makes a data set of the one file.
    file = pq.ParquetFile(pa.BufferReader(data))
    there = file.schema_arrow.names
    wanted = there if columns is None else [name for name in columns if name in there]
    table = file.read(wanted, use_threads=False)
    for name in RECORD_SCHEMA.names if columns is None else columns:
        if name in _OWN_COLUMNS:
            table = _typed(_with_column(table, name), name)
    return table


def _with_column(table: pa.Table, name: str) -> pa.Table:
    """Also where the manifest is older than the column."""
    if name in table.column_names:
        return table
    return table.append_column(RECORD_SCHEMA.field(name), missing_column(name, len(table)))


def _typed(table: pa.Table, name: str) -> pa.Table:
    field = RECORD_SCHEMA.field(name)
    column = table[name].cast(field.type)
    if column.null_count and not field.nullable:
        raise ValueError(f"{name} is missing in {column.null_count} rows")
    return table.set_column(table.column_names.index(name), table.schema.field(name).with_type(field.type), column)


@contextmanager
def _named(store: Store, name: ManifestName) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DarkroomError(
            f"{store.describe(name.key)}: not readable as a shard's records ({reason}); remove it and give the command "
            "that made the run again: it adopts the images that are stored"
        ) from error
