"""Types of a dataset's columns as the card's header says them, so that `datasets` guesses none from the first rows.

https://github.com/huggingface/hub-docs/blob/main/datasetcard.md: `dataset_info.features`.
"""

from typing import Any

import pyarrow as pa
import pyarrow.types as pt

_NAMES = {"float": "float32", "double": "float64", "halffloat": "float16", "date32[day]": "date32",
          "date64[ms]": "date64"}  # fmt: skip


def feature(field: pa.Field) -> dict[str, Any]:
    """Of a column, or of a field of one: its name and its type."""
    return {"name": field.name, **feature_type(field.type)}


def feature_type(kind: pa.DataType) -> dict[str, Any]:
    if pt.is_struct(kind):
        return {"struct": [feature(part) for part in kind]}
    if pt.is_large_list(kind):
        return {"large_list": _item(kind.value_type)}
    if pt.is_fixed_size_list(kind):
        return {"list": _item(kind.value_type), "length": kind.list_size}
    if pt.is_list(kind):
        return {"list": _item(kind.value_type)}
    return {"dtype": _NAMES.get(str(kind), str(kind))}


def _item(kind: pa.DataType) -> Any:
    """Of a list: a plain type by its name, a struct by its fields."""
    found = feature_type(kind)
    return found["dtype"] if list(found) == ["dtype"] else found["struct"] if list(found) == ["struct"] else found


def in_json(field: pa.Field) -> pa.Field:
    """The field as `json_values` writes it."""
    return pa.field(field.name, _in_json(field.type))


def _in_json(kind: pa.DataType) -> pa.DataType:
    if pt.is_struct(kind):
        return pa.struct([in_json(part) for part in kind])
    if pt.is_fixed_size_list(kind):
        return pa.list_(_in_json(kind.value_type), kind.list_size)
    if pt.is_list(kind) or pt.is_large_list(kind):
        return pa.list_(_in_json(kind.value_type))
    is_plain = pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind)
    return kind if is_plain else pa.string()
