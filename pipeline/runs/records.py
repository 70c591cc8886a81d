"""One row an image: the schema of a run's metadata, and tables of it. Knows neither stores nor models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import get_args, get_type_hints

import pyarrow as pa

OK = "ok"  # the image is there
FAILED = "failed"  # it could not be rendered; `error` says why, `retry` tries again
INVALID = "invalid"  # its prompt row cannot be rendered; `error` says why


@dataclass(frozen=True, slots=True)
class Record:
    """One image's metadata. Everything that the image is a function of, where it lies, and how it was made."""

    image_id: str
    prompt_id: str
    prompt: str
    negative_prompt: str
    sample_index: int
    seed: int
    row: int  # of the prompt dataset, from 0
    scheduler: str
    guidance_scale: float
    num_inference_steps: int
    height: int
    width: int
    model: str
    model_revision: str
    pipeline_class: str
    cell_id: str
    shard_id: str
    key: str | None  # object that holds the image, relative to the run
    member: str | None  # its name inside a container
    offset: int | None  # bytes into a tar, or row in a Parquet container
    sha256: str | None  # of the encoded image
    bytes: int | None  # size of the encoded image
    status: str
    error: str | None
    truncated: bool  # the prompt was longer than the text encoder takes
    darkroom_version: str
    torch_version: str | None
    diffusers_version: str | None
    device: str
    batch_size: int  # images in the device's batch, padding included
    compiled: bool  # by torch.compile, which may move low bits
    dtype: str
    render_s: float | None  # this image's share of its batch's time on the device
    encode_s: float | None
    attempt: int  # which try at the shard made this row, from 1
    created_at: datetime  # UTC


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
    own = pa.table({name: [getattr(record, name) for record in records] for name in _COLUMNS}, schema=RECORD_SCHEMA)
    columns = [*own.columns, *extras.columns]
    schema = pa.schema([*RECORD_SCHEMA, *extras.schema], metadata=dict(about))
    return pa.Table.from_arrays([column.combine_chunks() for column in columns], schema=schema)


def to_records(table: pa.Table) -> list[Record]:
    return [Record(**row) for row in table.select(_COLUMNS).to_pylist()]


def extra_columns(table: pa.Table) -> pa.Table:
    """What a metadata table carries beside the record's own columns."""
    return table.drop_columns(_COLUMNS).replace_schema_metadata(None)
