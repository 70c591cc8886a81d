"""What each sample of a tar or of a Parquet file holds of its prompt's row beside the text: `prompt_id`, and the
columns that the prompt file brought, as records carry them."""

import json
from collections.abc import Container, Mapping, Sequence
from typing import Any

import pyarrow as pa

from darkroom.domain.json_cells import json_cell
from darkroom.domain.records import RECORD_COLUMNS
from darkroom.domain.settings import LOSSY_OF_MODEL

_OF_DATASETS = ("image", "file_name", "text", "c2pa")  # columns that datasets and exports have themselves
_SETTINGS = ("settings", *RECORD_COLUMNS, *(each.name for each in LOSSY_OF_MODEL))


def free_name(name: str, taken: Container[str]) -> str:
    """A column's name, with `source_` before it as often as it takes to be no other's."""
    while name in taken or name in _OF_DATASETS:
        name = f"source_{name}"
    return name


def own_schema(extras: pa.Schema) -> pa.Schema:
    """Of samples, whose prompts' rows have these other columns; without what Arrow says beside their types."""
    found = [pa.field("prompt_id", pa.string())]
    for field in extras:
        taken = {*_SETTINGS, *(each.name for each in found)}
        found.append(field.remove_metadata().with_name(free_name(field.name, taken)))
    return pa.schema(found)


def own_columns(prompt_ids: Sequence[str], extras: pa.Table) -> pa.Table:
    """Of images, in order. `extras`: the other columns of their prompts' rows."""
    schema = own_schema(extras.schema)
    return pa.Table.from_arrays([pa.array(prompt_ids, pa.string()), *extras.columns], schema=schema)


def json_rows(columns: pa.Table) -> list[dict[str, Any]]:
    """Each row with all of its columns, since readers take the first row's for those of all. What is kept as JSON text,
    such as a column of mixed values, stays text: readers want one type."""
    values = [[json_cell(cell) for cell in column.to_pylist()] for column in columns.columns]
    return [dict(zip(columns.column_names, row, strict=True)) for row in zip(*values, strict=True)]


def joined(settings: str, row: Mapping[str, Any]) -> str:
    """An image's settings, JSON, with its own columns."""
    return json.dumps({**json.loads(settings), **row}, ensure_ascii=False, sort_keys=True)
