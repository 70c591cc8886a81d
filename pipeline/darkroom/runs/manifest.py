"""Manifests: the Parquet file of a shard's records, whose presence is what makes the shard committed.

Written last and conditionally, so a shard's images and records become visible together or not at all. Only a retry
makes a committed shard name other objects: it replaces the manifest that it read, by compare-and-swap. `fence_retries`
tells a job that removes objects what no retry can name any more.
"""

import io
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.identity import Shard
from darkroom.domain.policy import check_rejected
from darkroom.domain.records import LATER_COLUMNS, RECORD_COLUMNS, Record
from darkroom.domain.settings import IMAGE_SETTINGS, Sampling
from darkroom.runs.files import manifest_key
from darkroom.runs.listing import Copy, committed_shards, copy_of
from darkroom.runs.segments import Entry, OpenSegment, Unreadable, unreadable
from darkroom.storage.store import NotFound, Store

_PREFIX = b"darkroom."  # of the names in a file's metadata that say what the manifest proves
_RENEWED = "darkroom.renewed"  # in that metadata: a random number, which makes other bytes of the same records
_ARROW_TYPES: dict[object, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", tz="UTC"),
}
_SETTINGS = {each.name: each for each in IMAGE_SETTINGS}  # columns that make a record's `sampling`
_HINTS = get_type_hints(Record)
_OTHERS = tuple(name for name in RECORD_COLUMNS if name not in _SETTINGS)


def _field(name: str) -> pa.Field:
    """`X | None` becomes a nullable column, `X` one that refuses nulls; so does a setting that all runs have had."""
    if name in _SETTINGS:
        return pa.field(name, _ARROW_TYPES[_SETTINGS[name].kind], nullable=_SETTINGS[name].has_neutral)
    options = get_args(_HINTS[name])
    return pa.field(name, _ARROW_TYPES[options[0] if options else _HINTS[name]], nullable=bool(options))


RECORD_SCHEMA = pa.schema([_field(name) for name in RECORD_COLUMNS])
KEYS = ("key", "c2pa_key", "trajectory_key")  # columns that name objects
_RECORD_COLUMNS = frozenset(RECORD_SCHEMA.names)


@dataclass(frozen=True)
class WithExtras:
    """Some of the records' own columns, and every other one that the prompt file brought."""

    record_columns: Collection[str]


Columns = Sequence[str] | WithExtras | None  # None: all


def committed(store: Store, cell_id: str | None = None) -> Iterator[Shard]:
    """The committed shards, of one cell or of all, from a listing alone, in order of key."""
    return (each.shard for each in committed_shards(store, cell_id, with_copies=False))


def commit(store: Store, shard: Shard, table: pa.Table) -> bool:
    """Make a shard visible. False when another attempt has committed it already; its records stand."""
    return store.put_if_absent(manifest_key(shard), _to_bytes(table))


def revise(store: Store, shard: Shard, before: bytes, table: pa.Table) -> bool:
    """Replace a manifest that still is `before`. False when another job replaced it first."""
    return store.replace(manifest_key(shard), _to_bytes(table), expected=before)


def read(store: Store, shard: Shard, columns: Columns = None, is_listed: bool = False) -> pa.Table:
    """A shard's records, or some of their columns. Raises DarkroomError for a file that does not hold them.

    `is_listed`: a listing has just shown the manifest, and nothing that stands for it.
    """
    data = _data_or_copy(store, shard, is_listed)
    if isinstance(data, Copy):
        return read_copy(store, data, columns)
    with _named(store, shard):
        return checked(shard, parse(data, columns))


def checked(shard: Shard, table: pa.Table) -> pa.Table:
    """Raises ValueError for the records of another shard."""
    shard_id = texts(table.schema).get("darkroom.shard_id", shard.shard_id)
    if shard_id != shard.shard_id:
        raise ValueError(f"they are those of shard {shard_id}")
    return table


def read_copy(store: Store, copy: Copy, columns: Columns = None) -> pa.Table:
    """The records of a shard whose manifest was removed. Raises DarkroomError where they cannot be read."""
    try:
        return cut(read_group(copy.segment, copy.entry.group, columns), copy.entry)
    except Unreadable as error:
        raise unreadable(store, copy.segment.segment.key) from error


def cut(group: pa.Table, entry: Entry, start: int = 0) -> pa.Table:
    """A shard's records, out of its row group from row `start` on."""
    table = group.slice(entry.offset - start, entry.num_rows)
    return table.replace_schema_metadata(dict(entry.about) or None)


def read_group(segment: OpenSegment, group: int, columns: Columns = None) -> pa.Table:
    """The records of a segment's row group, as `read` would give those of each shard. Raises Unreadable."""
    return _records(segment.column_names, segment.num_rows(group), columns, lambda wanted: segment.read(group, wanted))


def metadata(store: Store, shard: Shard) -> dict[str, str]:
    """What a shard's file says beside its records."""
    data = _data_or_copy(store, shard)
    if isinstance(data, Copy):
        return _texts(data.entry.about)
    with _named(store, shard):
        return texts(pq.read_schema(io.BytesIO(data)))


def carried_settings(store: Store, shard: Shard) -> list[str]:
    """Settings of which the prompt file has a column, and that were not read from it for this shard."""
    data = _data_or_copy(store, shard)
    with _named(store, shard):
        columns = data.segment.column_names if isinstance(data, Copy) else pq.read_schema(io.BytesIO(data)).names
        names = _names(columns).values()
        return [name for name in LATER_COLUMNS if f"source_{name}" in names]


def _data_or_copy(store: Store, shard: Shard, is_listed: bool = False) -> bytes | Copy:
    """The manifest's bytes, or what stands for it for good. Raises NotFound where the shard is not there."""
    if not is_listed and (copy := copy_of(store, shard)):
        return copy
    try:
        return store.get(manifest_key(shard))
    except NotFound:
        if copy := copy_of(store, shard):  # it was removed meanwhile
            return copy
        raise


def texts(schema: pa.Schema) -> dict[str, str]:
    """What a manifest proves, out of its file's metadata."""
    return _texts(schema.metadata or {})


def _texts(metadata: Mapping[bytes, bytes]) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in metadata.items() if key.startswith(_PREFIX)}


def fence_retries(store: Store, shards: Iterable[Shard]) -> set[str]:
    """Keys that the manifests of these shards name. Of what lies in the store by now, no retry of them will name more.

    A retry stores objects under names that hold a digest of the manifest that it read. So every manifest is rewritten
    here with the same records in other bytes, after the objects were listed:
    - an attempt that read it before cannot commit any more, whatever it has stored or adopted;
    - one that had committed by then is seen, and what it names stays;
    - one that reads it later stores under names that nothing could have when the objects were listed.
    No job waits for another, and a killed one leaves nothing to clear up.
    """
    tables = (typed(_renewed(store, shard)) for shard in shards)
    return {key for table in tables for name in KEYS for key in table[name].to_pylist() if key}


def _renewed(store: Store, shard: Shard) -> pa.Table:
    while True:
        before = store.get(manifest_key(shard))
        table = stored(before)
        said = {**(table.schema.metadata or {}), _RENEWED: uuid.uuid4().hex}
        if revise(store, shard, before, table.replace_schema_metadata(said)):
            return table


def _to_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def parse(data: bytes, columns: Columns = None) -> pa.Table:
    """The records in a manifest's bytes, their own columns of their own types."""
    file = opened(data)
    return _records(
        file.schema_arrow.names, file.metadata.num_rows, columns, lambda wanted: file.read(wanted, use_threads=False)
    )


def stored(data: bytes) -> pa.Table:
    """What is in a manifest's bytes, as it is there."""
    return opened(data).read(use_threads=False)


def typed(table: pa.Table) -> pa.Table:
    """The records in that, as `parse` gives them."""
    return _records(table.column_names, table.num_rows, None, table.select)


def opened(data: bytes) -> pq.ParquetFile:
    """A tenth of the time of `read_table`, which makes a data set of the one file."""
    return pq.ParquetFile(pa.BufferReader(data))


def _records(
    stored: Sequence[str], num_rows: int, columns: Columns, read_columns: Callable[[list[str]], pa.Table]
) -> pa.Table:
    """Records out of a file with these columns."""
    names = _names(stored)
    there = {name: column for column, name in names.items()}
    if isinstance(columns, WithExtras):
        extras = [name for name in there if name not in _RECORD_COLUMNS]
        columns = [*(name for name in RECORD_SCHEMA.names if name in columns.record_columns), *extras]
    table = read_columns([there[name] for name in (there if columns is None else columns) if name in there])
    found = {
        names[field.name]: (field.with_name(names[field.name]), column)
        for field, column in zip(table.schema, table.columns, strict=True)
    }
    for name in RECORD_SCHEMA.names if columns is None else columns:
        if name in _RECORD_COLUMNS:
            found[name] = _typed(name, num_rows, *found.get(name, ()))
    schema = pa.schema([field for field, _ in found.values()], metadata=table.schema.metadata)
    return pa.Table.from_arrays([column for _, column in found.values()], schema=schema)


def _names(columns: Sequence[str]) -> dict[str, str]:
    """Column of a manifest -> its name here.

    A setting's column among the extra ones, which follow those of records, is the prompt file's: the manifest is older
    than the setting, and carried it unread. It is named as a prompt file's column that is not read is named now.
    """
    own = columns.index("created_at") if "created_at" in columns else len(columns)
    taken = set(columns)
    found = {}
    for place, column in enumerate(columns):
        name = column
        while place > own and (name in _SETTINGS or (name != column and name in taken)):
            name = f"source_{name}"
        found[column] = name
        taken.add(name)
    return found


def _typed(
    name: str, num_rows: int, field: pa.Field | None = None, column: pa.ChunkedArray | None = None
) -> tuple[pa.Field, pa.ChunkedArray | pa.Array]:
    """A column of its own type, also where the manifest is older than it."""
    wanted = RECORD_SCHEMA.field(name)
    if field is None or column is None:
        return wanted, missing_column(name, num_rows)
    if column.type != wanted.type:
        column = column.cast(wanted.type)
    if column.null_count and not wanted.nullable:
        raise ValueError(f"{name} is missing in {column.null_count} rows")
    if name == "policy_rejected" and column.null_count < len(column):
        check_rejected(column.drop_null().to_pylist())
    return field.with_type(wanted.type), column


@contextmanager
def _named(store: Store, shard: Shard) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        reason = first_line(error)
        raise DarkroomError(
            f"{store.describe(manifest_key(shard))}: not readable as a shard's records ({reason}); remove it and give "
            "the command that made the run again: it adopts the images that are stored"
        ) from error


# Records as tables ---------------------------------------------------------------------------------------------------


def missing_column(name: str, length: int) -> pa.Array:
    """A column that a file is too old to have: of a setting that rows may override its neutral value, since none did;
    null of any other. Raises ValueError for one that every file has.
    """
    field = RECORD_SCHEMA.field(name)
    if not field.nullable:
        raise ValueError(f"{name} is missing")
    setting = _SETTINGS.get(name)
    value = setting.neutral if setting and setting.row else None
    return pa.repeat(pa.scalar(value, field.type), length)


def to_table(records: Sequence[Record], extras: pa.Table, about: Mapping[str, str]) -> pa.Table:
    """Records and, beside each, its prompt row's other columns; `about` goes into the schema's metadata."""
    columns_of = {name: [getattr(record.sampling, name) for record in records] for name in _SETTINGS}
    columns_of |= {name: [getattr(record, name) for record in records] for name in _OTHERS}
    columns = [*pa.table(columns_of, schema=RECORD_SCHEMA).columns, *extras.columns]
    schema = pa.schema([*RECORD_SCHEMA, *extras.schema], metadata=dict(about))
    return pa.Table.from_arrays([column.combine_chunks() for column in columns], schema=schema)


def to_records(table: pa.Table) -> list[Record]:
    """A setting that is null, since the table is older than its column, has its neutral value."""
    samplings = _samplings(table.select(list(_SETTINGS)))
    rows = table.select(_OTHERS).to_pylist()
    return [Record(**row, sampling=sampling) for row, sampling in zip(rows, samplings, strict=True)]


def _samplings(table: pa.Table) -> Iterator[Sampling]:
    """One for each row, and one object for rows that share all settings, as most do."""
    known: dict[tuple[Any, ...], Sampling] = {}
    for values in zip(*(column.to_pylist() for column in table.columns), strict=True):
        if values not in known:
            given = zip(_SETTINGS, values, strict=True)
            known[values] = Sampling(**{name: value for name, value in given if value is not None})
        yield known[values]


def extra_columns(table: pa.Table) -> pa.Table:
    """What a metadata table carries beside the record's own columns."""
    return table.drop_columns(list(RECORD_COLUMNS)).replace_schema_metadata(None)
