"""Extra columns, which are carried through to the records: their Arrow types, and cell by cell whether they fit.

What is carried can be written to Parquet, joined over files and read by pandas and `datasets`. Types that one of them
cannot take become their simplest equal: views and dictionaries their values, maps lists of pairs, UUIDs text, other
extension types what they are stored as.
"""

import json
import re
import uuid
import zoneinfo
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.json_cells import json_cell
from darkroom.prompts.sources import Fault, shown

JSON_TEXT = {b"content": b"json"}  # field metadata of a column whose values are mixed and kept as JSON text
_REFUSALS = (
    pa.ArrowException,
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    OSError,
)  # of a cell or type that does not fit


def carried_field(source: str, field: pa.Field) -> pa.Field:
    """The field as it is carried: nullable, of a type that all readers know, without metadata that sets equals apart.

    Raises DarkroomError for a type that no records can hold.
    """
    carried = pa.field(field.name, _carried_type(field.type), metadata=JSON_TEXT if is_json_text(field) else None)
    try:
        _check_holds(concrete(carried))
    except _REFUSALS as error:
        reason = first_line(error).rstrip(".")
        raise DarkroomError(
            f"{source}: column {field.name!r} is {field.type}, which records cannot hold ({reason}); convert or drop it"
        ) from error
    return carried


def concrete(field: pa.Field) -> pa.Field:
    """The field with text where no value ever told a type: Arrow handles lists of the null type badly."""
    return field.with_type(_mapped(field.type, lambda kind: pa.string() if pt.is_null(kind) else kind))


def is_json_text(field: pa.Field) -> bool:
    return (field.metadata or {}).get(b"content") == JSON_TEXT[b"content"]


def json_values(field: pa.Field, column: pa.ChunkedArray) -> list[Any]:
    """The column's cells as JSON has them; kept JSON text is read."""
    cells = column.to_pylist()
    if is_json_text(field):
        return [None if cell is None else json.loads(cell) for cell in cells]
    return [json_cell(cell) for cell in cells]


def unify(source: str, known: pa.Schema, found: pa.Schema, loose: bool = False) -> pa.Schema:
    """One schema for the columns of several sources; a column that one of them lacks is null there.

    Where types conflict, a loose schema turns to JSON text, and any other is refused.
    """
    for field in found:
        index = known.get_field_index(field.name)
        if index < 0:
            known = known.append(field)
        else:
            known = known.set(index, _unify_field(source, known.field(index), field, loose))
    return known


def extra_columns(table: pa.Table, wanted: pa.Schema, faults: dict[int, Fault]) -> pa.Table:
    """The wanted columns of a block, each of its type; a cell that does not fit is null, and its row gets a fault."""
    columns = []
    for field in wanted:
        if field.name in table.column_names:
            cells = table.column(field.name)
            chunks = [_fitted(field, chunk, faults, first) for first, chunk in _with_starts(cells)]
            columns.append(pa.chunked_array(chunks, field.type))
        else:
            columns.append(pa.chunked_array([pa.nulls(len(table), field.type)]))
    return pa.table(columns, schema=wanted) if wanted.names else pa.table({})


def _with_starts(cells: pa.ChunkedArray) -> list[tuple[int, pa.Array]]:
    found, first = [], 0
    for chunk in cells.chunks:
        found.append((first, chunk))
        first += len(chunk)
    return found


def _fitted(field: pa.Field, cells: pa.Array, faults: dict[int, Fault], first: int) -> pa.Array:
    """Halved until only cells that do not fit are left, so that one of them costs little."""
    try:
        return _converted(cells, field.type)
    except _REFUSALS as error:
        if len(cells) == 1:
            faults.setdefault(first, _fault(field, cells, error))
            return pa.nulls(1, field.type)
    middle = len(cells) // 2
    halves = [_fitted(field, cells[:middle], faults, first), _fitted(field, cells[middle:], faults, first + middle)]
    return pa.concat_arrays(halves)


def _converted(cells: pa.Array, kind: pa.DataType) -> pa.Array:
    if _by_value(cells.type):
        return pa.array([_value(cell) for cell in cells.to_pylist()], kind)
    converted = cells if cells.type == kind else cells.cast(kind)
    try:
        converted.validate(full=True)
    except pa.ArrowInvalid:
        converted = converted.take(pa.array(range(len(cells))))  # a part of a nested array still has all of its values
        converted.validate(full=True)
    if pt.is_timestamp(kind) or pt.is_date(kind):
        pc.min_max(converted).as_py()  # in no year that Python does not have
    return converted


def _by_value(kind: pa.DataType) -> bool:
    """Types that Arrow casts wrongly (UUIDs, list views) or not at all."""
    if pt.is_dictionary(kind):
        return pt.is_nested(kind.value_type) or _is_view(kind.value_type) or _by_value(kind.value_type)
    if _is_uuid(kind) or pt.is_list_view(kind) or pt.is_large_list_view(kind) or pt.is_run_end_encoded(kind):
        return True
    return pt.is_nested(kind) and any(_by_value(kind.field(index).type) for index in range(kind.num_fields))


def _value(cell: object) -> object:
    """A cell as the type that is carried takes it: UUIDs as text, a map's entries as pairs."""
    match cell:
        case uuid.UUID():
            return str(cell)
        case list():
            return [_value(each) for each in cell]
        case tuple():
            return {"key": _value(cell[0]), "value": _value(cell[1])}
        case dict():
            return {name: _value(each) for name, each in cell.items()}
    return cell


def _fault(field: pa.Field, cell: pa.Array, error: Exception) -> Fault:
    if "utf" in str(error).lower():
        found = shown(cell.cast(pa.binary())[0].as_py()) if not pt.is_nested(cell.type) and _is_text(cell.type) else ""
        return Fault(field.name, "not valid UTF-8", found)
    return Fault(field.name, f"not {field.type}", first_line(error))


def _carried_type(kind: pa.DataType) -> pa.DataType:
    return _mapped(kind, _carried_type_of_part)


def _carried_type_of_part(kind: pa.DataType) -> pa.DataType:
    """Of a type without parts."""
    if _is_uuid(kind) or pt.is_string_view(kind):
        return pa.string()
    if pt.is_binary_view(kind):
        return pa.binary()
    if pt.is_decimal32(kind) or pt.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if pt.is_time64(kind):
        return pa.time64("us")  # pandas has no finer time of day
    return pa.timestamp("ms", kind.tz) if pt.is_timestamp(kind) and kind.unit == "s" else kind  # as Parquet has it


def _mapped(kind: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """A type with each part that has no parts changed; lists, structs and maps get nullable fields without metadata."""
    if isinstance(kind, pa.BaseExtensionType) and not _is_uuid(kind):
        return _mapped(kind.storage_type, change)
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return _mapped(kind.value_type, change)
    if pt.is_struct(kind):
        return pa.struct([pa.field(part.name, _mapped(part.type, change)) for part in kind])
    if pt.is_map(kind):
        pair = [("key", _mapped(kind.key_type, change)), ("value", _mapped(kind.item_type, change))]
        return pa.list_(pa.struct(pair))
    if pt.is_fixed_size_list(kind):
        return pa.list_(_mapped(kind.value_type, change), kind.list_size)
    if pt.is_large_list(kind) or pt.is_large_list_view(kind):
        return pa.large_list(_mapped(kind.value_type, change))
    if pt.is_list(kind) or pt.is_list_view(kind):
        return pa.list_(_mapped(kind.value_type, change))
    return change(kind)


def _check_holds(field: pa.Field) -> None:
    """Do with two nulls of the type what records and their readers do. Raises one of _REFUSALS."""
    table = pa.table([pa.nulls(2, field.type)], schema=pa.schema([field]))
    buffer = BytesIO()
    pq.write_table(pa.concat_tables([table, table]).take(pa.array([3, 0])), buffer)
    _check_parts(field.type)


def _check_parts(kind: pa.DataType) -> None:
    """What nulls do not tell: names that a dict cannot hold, and a time zone that nobody knows."""
    parts = [kind.field(index) for index in range(kind.num_fields)]
    if pt.is_struct(kind) and len({part.name for part in parts}) < len(parts):
        raise ValueError("two fields of one name")
    if pt.is_timestamp(kind) and kind.tz and not re.fullmatch(r"[+-]\d\d:?\d\d", kind.tz):
        zoneinfo.ZoneInfo(kind.tz)
    for part in parts:
        _check_parts(part.type)


def _unify_field(source: str, known: pa.Field, found: pa.Field, loose: bool) -> pa.Field:
    if known.equals(found, check_metadata=True):
        return known
    try:
        schemas = [pa.schema([known.remove_metadata()]), pa.schema([found.remove_metadata()])]
        joined = pa.unify_schemas(schemas, promote_options="permissive").field(0)
        for field in (known, found):
            pa.nulls(1, field.type).cast(joined.type)
        return joined.with_metadata(JSON_TEXT) if is_json_text(known) or is_json_text(found) else joined
    except pa.ArrowException as error:
        if loose:
            return pa.field(known.name, pa.string(), metadata=JSON_TEXT)
        raise DarkroomError(
            f"{source}: column {found.name!r} is {found.type}, but {known.type} in the files before it; "
            "make them one type, or drop the column"
        ) from error


def _is_uuid(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.UuidType)


def _is_view(kind: pa.DataType) -> bool:
    return bool(pt.is_string_view(kind) or pt.is_binary_view(kind))


def _is_text(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pt.is_string, pt.is_large_string, pt.is_string_view, pt.is_binary))
