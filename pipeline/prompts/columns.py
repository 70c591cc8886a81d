"""Column names of prompt files: which are read, which belong to records, and what extra columns are called.

Knows names and Arrow types; reads no rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields

import pyarrow as pa
import pyarrow.types as pt

from pipeline.domain.errors import DarkroomError
from pipeline.domain.prompts import ROW_COLUMNS
from pipeline.domain.records import Record

READ = ("prompt", *ROW_COLUMNS)
TEXT = ("prompt", *(name for name, kind in ROW_COLUMNS.items() if kind is str))
OVERRIDES = tuple(name for name in ROW_COLUMNS if name != "prompt_id")

# Columns that a record has of its own, and those that are read; an extra one of that name is carried as source_<name>.
RESERVED = frozenset([*(field.name for field in fields(Record)), *READ])

JSON_TEXT = {b"content": b"json"}  # field metadata of a column whose values are mixed and kept as JSON text


def find_prompt(names: Sequence[str]) -> str | None:
    """The column that holds the prompt: `prompt`, or the only one that is spelled so in another case."""
    if "prompt" in names:
        return "prompt"
    spelled = [name for name in names if name.lower() == "prompt"]
    return spelled[0] if len(spelled) == 1 else None


def check_names(source: str, names: Sequence[str]) -> None:
    """Refuse a header that cannot be read: no prompt, or one name twice."""
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DarkroomError(f"{source}: column {twice[0]!r} is there twice; rename one of them")
    if find_prompt(names) is None:
        raise DarkroomError(
            f"{source}: no column 'prompt' among {_listed(names)}; rename the one that holds the prompts"
        )


def check_types(source: str, schema: pa.Schema) -> None:
    """Refuse a typed file whose read columns cannot hold what is read from them."""
    for field in schema:
        name = "prompt" if field.name == find_prompt(schema.names) else field.name
        if name in READ and not _can_hold(name, _plain(field.type)):
            needed = "text" if name in TEXT else "a number" if name == "guidance_scale" else "an integer"
            raise DarkroomError(f"{source}: column {field.name!r} is {field.type}, needed {needed}; convert the column")


def extra_names(names: Iterable[str]) -> dict[str, str]:
    """File's name -> record's name of each extra column, none of them a record's own and no two alike."""
    taken = {name.lower() for name in names if name.lower() not in RESERVED}
    renamed = {}
    for name in names:
        renamed[name] = name
        if name.lower() in RESERVED:
            renamed[name] = _free(f"source_{name}", taken)
    return renamed


def unify_extras(source: str, known: pa.Schema, found: pa.Schema, loose: bool = False) -> pa.Schema:
    """One schema for the extra columns of several sources; a column that one of them lacks is null there.

    Where types conflict, a loose schema turns to JSON text, and any other is refused.
    """
    for field in found:
        index = known.get_field_index(field.name)
        if index < 0:
            known = known.append(field)
        else:
            known = known.set(index, _unify_field(source, known.field(index), field, loose))
    return known


def plain_field(field: pa.Field) -> pa.Field:
    """Nullable, and without the metadata that would make equal columns of two files differ."""
    return pa.field(field.name, field.type, nullable=True, metadata=JSON_TEXT if is_json_text(field) else None)


def concrete(field: pa.Field) -> pa.Field:
    """The field with text where no value ever told a type: Arrow handles lists of the null type badly."""
    kind = field.type
    if pt.is_null(kind):
        return field.with_type(pa.string())
    if pt.is_struct(kind):
        return field.with_type(pa.struct([concrete(kind.field(index)) for index in range(kind.num_fields)]))
    return field.with_type(pa.list_(concrete(kind.value_field))) if pt.is_list(kind) else field


def is_json_text(field: pa.Field) -> bool:
    return (field.metadata or {}).get(b"content") == JSON_TEXT[b"content"]


def _unify_field(source: str, known: pa.Field, found: pa.Field, loose: bool) -> pa.Field:
    if known.equals(found, check_metadata=True):
        return known
    try:
        schemas = [pa.schema([known.remove_metadata()]), pa.schema([found.remove_metadata()])]
        joined = pa.unify_schemas(schemas, promote_options="permissive").field(0)
        return joined.with_metadata(JSON_TEXT) if is_json_text(known) or is_json_text(found) else joined
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        if loose:
            return pa.field(known.name, pa.string(), metadata=JSON_TEXT)
        raise DarkroomError(
            f"{source}: column {found.name!r} is {found.type}, but {known.type} in the files before it; "
            "make them one type, or drop the column"
        ) from error


def _can_hold(name: str, kind: pa.DataType) -> bool:
    if pt.is_null(kind):
        return True
    if name in TEXT:
        return _is_text(kind) or (name == "prompt_id" and pt.is_integer(kind))
    return pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pt.is_dictionary(kind) else kind


def _free(name: str, taken: set[str]) -> str:
    while name.lower() in taken:
        name = f"source_{name}"
    taken.add(name.lower())
    return name


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return f"{shown}, ..." if len(names) > most else shown or "none"
