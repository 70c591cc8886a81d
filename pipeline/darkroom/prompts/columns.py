"""Column names of prompts: which are read, which belong to records, and what extra columns are called."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.types as pt

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import LATER_COLUMNS, RECORD_COLUMNS, ROW_COLUMNS
from darkroom.domain.settings import PICTURES

READ = ("prompt", *ROW_COLUMNS)
TEXT = ("prompt", *(name for name, kind in ROW_COLUMNS.items() if kind is str))
OVERRIDES = tuple(name for name in ROW_COLUMNS if name != "prompt_id")

# Columns that a record has of its own, and those that are read; an extra one of that name is carried as source_<name>.
RESERVED = frozenset([*RECORD_COLUMNS, *READ])
_NAMES_SHOWN = 8
_NEEDED = {str: "text", float: "a number", int: "an integer", bool: "true or false"}


@dataclass(frozen=True)
class ColumnMapping:
    """Which column each name of READ is read from, where it is not the one of that name; None: from no column."""

    columns: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def known_before(self) -> dict[str, str | None]:
        """`columns` without the choice to leave unread what an older version could not read."""
        return {
            name: column for name, column in self.columns.items() if column is not None or name not in LATER_COLUMNS
        }

    def renamed(self, names: Sequence[str]) -> dict[str, str]:
        """Column of a source -> its name here: for what is read, the name in READ, which nothing else then has."""
        read_as = {column: name for name, column in self.columns.items() if column is not None}
        for name in READ:
            column = find_prompt(names) if name == "prompt" else name
            if name not in self.columns and column is not None:
                read_as.setdefault(column, name)
        taken = {name.lower() for name in names}
        return {name: read_as.get(name) or (_free(f"source_{name}", taken) if name in READ else name) for name in names}

    def renamed_schema(self, schema: pa.Schema) -> pa.Schema:
        """The same columns under their names here."""
        names = self.renamed(schema.names).values()
        return pa.schema([column.with_name(name) for column, name in zip(schema, names, strict=True)])

    def renamed_outside(self, name: str) -> str:
        """What a column that is none of a file's own is called, such as one that its folder says."""
        read_as = {column: name for name, column in self.columns.items()}
        return read_as.get(name) or (f"source_{name}" if name in self.columns else name)

    def wanted(self, schema: pa.Schema, types: pa.Schema | None) -> dict[str, str]:
        """Column of a source -> its name here, of those that are read and of the extra ones in `types`."""
        asked = {*READ, *(types.names if types is not None else ())}
        return {column: name for column, name in self.renamed(schema.names).items() if name in asked}

    def check_header(self, source: str, names: Sequence[str]) -> None:
        """Refuse a header that cannot be read: one name twice, no prompt, or none of the columns that are mapped."""
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise DarkroomError(f"{source}: column {twice[0]!r} is there twice; rename one of them")
        for name, column in self.columns.items():
            if column is not None and column not in names:
                raise DarkroomError(
                    f"{source}: no column {column!r} among {_listed(names)}, and prompts.columns.{name} names it"
                )
        if "prompt" not in self.renamed(names).values():
            raise DarkroomError(
                f"{source}: no column 'prompt' among {_listed(names)}; rename the one that holds the prompts, or set "
                "prompts.columns.prompt to its name"
            )

    def check_schema(self, source: str, schema: pa.Schema, valueless: Collection[str] = ()) -> None:
        """Refuse typed columns whose header cannot be read, or that cannot hold what is read from them.

        `valueless`: columns of nulls alone. pandas makes numbers of these, whatever they were meant to hold.
        """
        self.check_header(source, schema.names)
        for column, name in zip(schema, self.renamed(schema.names).values(), strict=True):
            if column.name in valueless and pt.is_floating(column.type):
                continue
            if name in READ and not _can_hold(name, _value_type(column.type)):
                needed = _NEEDED[_kind_of(name)]
                raise DarkroomError(
                    f"{source}: column {column.name!r} is {column.type}, needed {needed}; convert the column"
                )


def column_mapping(columns: Mapping[str, str | None]) -> ColumnMapping:
    """What a command says of columns, checked."""
    for name in columns:
        if name not in READ:
            raise DarkroomError(f"prompts.columns.{name}: only these are read from columns: {', '.join(READ)}")
    if columns.get("prompt", "prompt") is None:
        raise DarkroomError("prompts.columns.prompt=null: a prompt is needed; give the column that holds it")
    named = [column for column in columns.values() if column is not None]
    for column in named:
        if named.count(column) > 1:
            raise DarkroomError(f"prompts.columns: column {column!r} is named twice; a column is read as one thing")
    return ColumnMapping({name: column for name, column in columns.items() if column != name})


def find_prompt(names: Sequence[str]) -> str | None:
    """The column that holds the prompt: `prompt`, or the only one in another case or with spaces around it."""
    if "prompt" in names:
        return "prompt"
    spelled = [name for name in names if name.strip().lower() == "prompt"]
    return spelled[0] if len(spelled) == 1 else None


def nearly_read(name: str) -> str | None:
    """The name that is read and that this one is but for case, spaces and hyphens; such a column is not read."""
    spelled = re.sub(r"[\s-]+", "_", name.strip().lower())
    return spelled if spelled in READ and spelled != name else None


def extra_names(names: Iterable[str]) -> dict[str, str]:
    """File's name -> record's name of each extra column, none of them a record's own and no two alike."""
    taken = {name.lower() for name in names if name.lower() not in RESERVED}
    renamed = {}
    for name in names:
        renamed[name] = name
        if name.lower() in RESERVED:
            renamed[name] = _free(f"source_{name}", taken)
    return renamed


def _kind_of(name: str) -> type:
    return ROW_COLUMNS.get(name, str)


def holds_files(name: str, kind: pa.DataType) -> bool:
    """Whether a column of this name and type has files, as bytes or as `datasets` has them: {bytes, path}."""
    if pt.is_struct(kind):
        kind = next((part.type for part in kind if part.name == "bytes"), pa.null())
    return name in PICTURES and bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind))


def _can_hold(name: str, kind: pa.DataType) -> bool:
    if pt.is_null(kind) or holds_files(name, kind):
        return True
    if name in TEXT:
        return _is_text(kind) or (name == "prompt_id" and pt.is_integer(kind))
    if _kind_of(name) is bool:
        return bool(pt.is_boolean(kind))
    return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pt.is_dictionary(kind) else kind


def _free(name: str, taken: set[str]) -> str:
    while name.lower() in taken:
        name = f"source_{name}"
    taken.add(name.lower())
    return name


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN])
    return f"{shown}, ..." if len(names) > _NAMES_SHOWN else shown or "none"
