"""A source of rows: a file, a table in memory or a template, read in blocks as it is written, before any check.

Its columns bear their own names, but for those that are read, which bear the names of `columns.READ`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import pyarrow as pa

from darkroom.prompts.columns import READ
from darkroom.storage.input_files import InputFile

_VALUE_CHARS = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row cannot be rendered."""

    column: str  # empty when the row as a whole cannot be read
    kind: str  # null, empty, not text, not valid UTF-8, not a number, not a whole number, out of range, ...
    value: str = ""  # what was found, cut short
    needed: str = ""  # what would have done instead, where it is a range

    def __str__(self) -> str:
        found = f": {self.value}" if self.value else ""
        if not self.column:
            return f"the row is {self.kind}{found}"
        needed = f" (needed: {self.needed})" if self.kind == "out of range" else ""
        return f"column {self.column!r} is {self.kind}{needed}{found}"


def shown(value: object) -> str:
    """A value for a message, in one line, cut short."""
    text = repr(value)
    return text if len(text) <= _VALUE_CHARS else text[: _VALUE_CHARS - 3] + "..."


@dataclass(frozen=True)
class SourceBlock:
    """A contiguous run of a source's rows."""

    start: int  # row in the source
    table: pa.Table  # `prompt`, and whatever other columns there are
    faults: dict[int, Fault] = field(default_factory=dict)  # by position: rows that cannot be read at all
    lines: Sequence[int] | None = None  # by position: line of the file, where rows are lines


class Source(Protocol):
    @property
    def name(self) -> str: ...

    def schema(self) -> pa.Schema | None:
        """Columns as far as they are known without reading rows. Raises DarkroomError where there are no prompts."""
        ...

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        """Rows from `start` on, with the extra columns of `types`.

        Without `types`, a source that knows its schema leaves extra columns out, and any other gives all of them.
        """
        ...

    def check_unchanged(self) -> None:
        """Raises DarkroomError where the source is no longer what it was."""
        ...

    def content_digest(self) -> str:
        """Equal for equal content, in any process."""
        ...


@dataclass(frozen=True)
class PartitionedSource:
    """A source whose file's folders say columns, as in `lang=en/`: the same cells in every row, as text.

    A column that the file has itself stays its own.
    """

    source: Source
    partition: Mapping[str, str | None]

    @property
    def name(self) -> str:
        return self.source.name

    def schema(self) -> pa.Schema | None:
        return self._schema

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        wanted = set(self.partition)
        if types is not None or self._schema is not None:
            wanted &= {*READ, *(types.names if types is not None else ())}
        for block in self.source.read(start, block_rows, types):
            yield replace(block, table=self._with_partition(block.table, wanted))

    def check_unchanged(self) -> None:
        self.source.check_unchanged()

    def content_digest(self) -> str:
        return self.source.content_digest()

    @cached_property
    def _schema(self) -> pa.Schema | None:
        schema = self.source.schema()
        for name in self.partition:
            if schema is not None and name not in schema.names:
                schema = schema.append(pa.field(name, pa.string()))
        return schema

    def _with_partition(self, table: pa.Table, wanted: set[str]) -> pa.Table:
        for name, value in self.partition.items():
            if name in wanted and name not in table.column_names:
                table = table.append_column(name, pa.repeat(pa.scalar(value, pa.string()), len(table)))
        return table


@dataclass(frozen=True)
class EmptySource:
    """A file of no bytes among others, as Spark writes for a part without rows."""

    file: InputFile

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> None:
        """It has no columns."""

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        return iter(())

    def check_unchanged(self) -> None:
        self.file.check_unchanged()

    def content_digest(self) -> str:
        return self.file.content_digest()
