"""Column names of prompt files: which are read, which belong to records, and what extra columns are called.

Knows names and Arrow types; reads no rows.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.types as pt

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import RECORD_COLUMNS
from darkroom.domain.requests import ROW_COLUMNS

READ = ("prompt", *ROW_COLUMNS)
TEXT = ("prompt", *(name for name, kind in ROW_COLUMNS.items() if kind is str))
OVERRIDES = tuple(name for name in ROW_COLUMNS if name != "prompt_id")

# Columns that a record has of its own, and those that are read; an extra one of that name is carried as source_<name>.
RESERVED = frozenset([*RECORD_COLUMNS, *READ])


@dataclass(frozen=True)
class Reading:
    """Which column each name of READ is read from, where it is not the one of that name; None: from no column."""

    given: Mapping[str, str | None] = field(default_factory=dict)

    def called(self, names: Sequence[str]) -> dict[str, str]:
        """A file's name -> ours. What is read bears the name it is read as; of what is not, none bears such a name."""
        columns = {column: name for name, column in self.given.items() if column is not None}
        for name in READ:
            column = find_prompt(names) if name == "prompt" else name
            if name not in self.given and column is not None:
                columns.setdefault(column, name)
        taken = {name.lower() for name in names}
        return {name: columns.get(name) or (_free(f"source_{name}", taken) if name in READ else name) for name in names}

    def called_alone(self, name: str) -> str:
        """What a column outside of the file's own is called."""
        read = {column: name for name, column in self.given.items()}
        return read.get(name) or (f"source_{name}" if name in self.given else name)

    def check(self, source: str, names: Sequence[str]) -> None:
        """Refuse a header that cannot be read: one name twice, no prompt, or none of the columns that were given."""
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise DarkroomError(f"{source}: column {twice[0]!r} is there twice; rename one of them")
        for name, column in self.given.items():
            if column is not None and column not in names:
                raise DarkroomError(
                    f"{source}: no column {column!r} among {_listed(names)}, and prompts.columns.{name} names it"
                )
        if "prompt" not in self.called(names).values():
            raise DarkroomError(
                f"{source}: no column 'prompt' among {_listed(names)}; rename the one that holds the prompts, or set "
                "prompts.columns.prompt to its name"
            )

    def check_types(self, source: str, schema: pa.Schema) -> None:
        """Refuse a typed file whose read columns cannot hold what is read from them."""
        for column, name in zip(schema, self.called(schema.names).values(), strict=True):
            if name in READ and not _can_hold(name, _plain(column.type)):
                needed = "text" if name in TEXT else "a number" if ROW_COLUMNS[name] is float else "an integer"
                raise DarkroomError(
                    f"{source}: column {column.name!r} is {column.type}, needed {needed}; convert the column"
                )


def reading(columns: Mapping[str, str | None]) -> Reading:
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
    return Reading({name: column for name, column in columns.items() if column != name})


def find_prompt(names: Sequence[str]) -> str | None:
    """The column that holds the prompt: `prompt`, or the only one in another case or with spaces around it."""
    if "prompt" in names:
        return "prompt"
    spelled = [name for name in names if name.strip().lower() == "prompt"]
    return spelled[0] if len(spelled) == 1 else None


def nearly_read(name: str) -> str | None:
    """The name that is read and that this one is but for case, spaces and hyphens; such a column is not read."""
    plain = re.sub(r"[\s-]+", "_", name.strip().lower())
    return plain if plain in READ and plain != name else None


def extra_names(names: Iterable[str]) -> dict[str, str]:
    """File's name -> record's name of each extra column, none of them a record's own and no two alike."""
    taken = {name.lower() for name in names if name.lower() not in RESERVED}
    renamed = {}
    for name in names:
        renamed[name] = name
        if name.lower() in RESERVED:
            renamed[name] = _free(f"source_{name}", taken)
    return renamed


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
