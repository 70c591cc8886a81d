"""Records as Arrow tables and back, and back to the requests that they answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, get_args, get_type_hints

import pyarrow as pa

from darkroom.domain.identity import Cell, ModelIdentity
from darkroom.domain.records import RECORD_COLUMNS, Record
from darkroom.domain.requests import ImageRequest, PromptRow, Sample
from darkroom.domain.settings import IMAGE_SETTINGS, ROW_SETTINGS, Sampling

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


def recorded_request(record: Record, cell: Cell) -> ImageRequest:
    """The request that a record of this cell answers: enough to render its image again.

    What no row overrides is the cell's own: a run may be older than the column of a setting.
    """
    given = {each.name: getattr(record.sampling, each.name) for each in ROW_SETTINGS if each.of_image}
    sampling = replace(cell.image_sampling, **given)
    return ImageRequest(record.image_id, record.prompt, record.seed, sampling)


def called_as_then(model: ModelIdentity, record: Record) -> ModelIdentity:
    """The cell's model by the name that this record's file has for it: another attempt may have called it otherwise."""
    return replace(model, repo_id=record.model)


def recorded_sample(record: Record, cell: Cell) -> Sample:
    row = PromptRow(row=record.row, prompt_id=record.prompt_id, prompt=record.prompt)
    return Sample(row, record.sample_index, recorded_request(record, cell))
