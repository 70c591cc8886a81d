"""Records as Arrow tables and back, and back to the requests that they answer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import get_args, get_type_hints

import pyarrow as pa

from darkroom.domain.cells import Cell, ModelIdentity
from darkroom.domain.images import ImageRequest, Sample
from darkroom.domain.prompts import PromptRow
from darkroom.domain.records import Record

_ARROW_TYPES: dict[object, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", tz="UTC"),
}


def _arrow_field(name: str, annotation: object) -> pa.Field:
    """`X | None` becomes a nullable column, `X` one that refuses nulls."""
    options = get_args(annotation)
    return pa.field(name, _ARROW_TYPES[options[0] if options else annotation], nullable=bool(options))


RECORD_SCHEMA = pa.schema([_arrow_field(name, kind) for name, kind in get_type_hints(Record).items()])
_COLUMNS = RECORD_SCHEMA.names


def to_table(records: Sequence[Record], extras: pa.Table, about: Mapping[str, str]) -> pa.Table:
    """Records and, beside each, its prompt row's other columns; `about` goes into the schema's metadata."""
    table = pa.table({name: [getattr(record, name) for record in records] for name in _COLUMNS}, schema=RECORD_SCHEMA)
    columns = [*table.columns, *extras.columns]
    schema = pa.schema([*RECORD_SCHEMA, *extras.schema], metadata=dict(about))
    return pa.Table.from_arrays([column.combine_chunks() for column in columns], schema=schema)


def to_records(table: pa.Table) -> list[Record]:
    return [Record(**row) for row in table.select(_COLUMNS).to_pylist()]


def extra_columns(table: pa.Table) -> pa.Table:
    """What a metadata table carries beside the record's own columns."""
    return table.drop_columns(_COLUMNS).replace_schema_metadata(None)


def recorded_request(record: Record, cell: Cell) -> ImageRequest:
    """The request that a record of this cell answers: enough to render its image again."""
    sampling = replace(
        cell.sampling,
        scheduler=record.scheduler,
        guidance_scale=record.guidance_scale,
        num_inference_steps=record.num_inference_steps,
        height=record.height,
        width=record.width,
        negative_prompt=record.negative_prompt,
    )
    return ImageRequest(record.image_id, record.prompt, record.seed, sampling)


def called_as_then(model: ModelIdentity, record: Record) -> ModelIdentity:
    """The cell's model by the name that this record's file has for it: another attempt may have called it otherwise."""
    return replace(model, repo_id=record.model)


def recorded_sample(record: Record, cell: Cell) -> Sample:
    row = PromptRow(row=record.row, prompt_id=record.prompt_id, prompt=record.prompt)
    return Sample(row, record.sample_index, recorded_request(record, cell))
