"""Sources of rows, read in blocks as they are written, before any check; and those of typed columns: Parquet and Arrow.

A source's columns bear their own names, but for those that are read, which bear the names of `columns.READ`.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.prompts.columns import ColumnMapping, holds_files
from darkroom.storage.input_files import InputFile

_BUFFER_BYTES = 1 << 20  # of a column that is being read: memory stays flat however large a row group is
_FILE_ROWS = 64  # at once, of rows that hold files
_DIGEST_ROWS = 8192  # as text at once
_VALUE_CHARS = 60
OUT_OF_RANGE, NOT_A_CHOICE = "out of range", "not a choice"  # kinds of faults that say what was needed


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row cannot be rendered."""

    column: str  # empty when the row as a whole cannot be read
    kind: str  # null, empty, not text, not valid UTF-8, not a number, not a whole number, out of range, ...
    value: str = ""  # what was found, cut short
    needed: str = ""  # what would have done instead, where it is a range or a choice

    def __str__(self) -> str:
        found = f": {self.value}" if self.value else ""
        if not self.column:
            return f"the row is {self.kind}{found}"
        needed = f" (needed: {self.needed})" if self.kind in (OUT_OF_RANGE, NOT_A_CHOICE) else ""
        return f"column {self.column!r} is {self.kind}{needed}{found}"


def shown(value: object) -> str:
    """A value for a message, in one line, cut short."""
    text = " ".join(repr(value).split("\n"))
    return text if len(text) <= _VALUE_CHARS else text[: _VALUE_CHARS - 3] + "..."


@dataclass(frozen=True)
class SourceBlock:
    """A contiguous run of a source's rows."""

    start: int  # row in the source
    table: pa.Table  # `prompt`, and whatever other columns there are
    faults: dict[int, Fault] = field(default_factory=dict)  # by position: rows that cannot be read at all
    lines: Sequence[int] | None = None  # by position: line of the file, where rows are lines
    called: Callable[[int], str] | None = None  # by position, where rows are not all of the source's: what a user knows

    def origin(self, position: int) -> str:
        """Where a user finds the row."""
        if self.called:
            return self.called(position)
        return f"line {self.lines[position]}" if self.lines else f"row {self.start + position} of this file"


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
class ParquetSource:
    file: InputFile
    mapping: ColumnMapping = field(default_factory=ColumnMapping)

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> pa.Schema:
        return self.mapping.renamed_schema(self._schema)

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        wanted = self.mapping.wanted(self._schema, types)
        if any(holds_files(name, self._schema.field(column).type) for column, name in wanted.items()):
            block_rows = min(block_rows, _FILE_ROWS)
        with self.file.reading(), self.file.open_file() as opened:
            parquet = pq.ParquetFile(opened, buffer_size=_BUFFER_BYTES, pre_buffer=False)
            first, groups = _groups_from(parquet.metadata, start)
            for batch in parquet.iter_batches(block_rows, row_groups=groups, columns=list(wanted)):
                self.file.check_unchanged()
                table = pa.Table.from_batches([batch]).select(list(wanted)).rename_columns(list(wanted.values()))
                skipped = min(max(start - first, 0), len(batch))
                if skipped < len(batch):
                    yield SourceBlock(first + skipped, table.slice(skipped))
                first += len(batch)

    def check_unchanged(self) -> None:
        self.file.check_unchanged()

    def content_digest(self) -> str:
        return self.file.content_digest()

    @cached_property
    def _schema(self) -> pa.Schema:
        with self.file.reading(), self.file.open_file() as opened:
            file = pq.ParquetFile(opened)
            schema, num_rows = file.schema_arrow, file.metadata.num_rows
        self.mapping.check_schema(self.name, schema, () if num_rows else schema.names)
        return schema


@dataclass(frozen=True)
class TableSource:
    name: str
    table: pa.Table
    mapping: ColumnMapping = field(default_factory=ColumnMapping)

    def schema(self) -> pa.Schema:
        table = self.table
        valueless = [name for name, cells in zip(table.column_names, table.columns, strict=True) if _is_null(cells)]
        self.mapping.check_schema(self.name, table.schema, valueless)
        return self.mapping.renamed_schema(self.table.schema)

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        wanted = self.mapping.wanted(self.table.schema, types)
        table = self.table.select(list(wanted)).rename_columns(list(wanted.values()))
        for first in range(start, len(table), block_rows):
            yield SourceBlock(first, table.slice(first, block_rows))

    def check_unchanged(self) -> None:
        """A table cannot change."""

    def content_digest(self) -> str:
        """SHA-256 of schema and cells as text, however the table is cut into chunks; as JSON in JSON, in flat memory.

        The text is that of `digest(json.dumps([str(schema), rows], default=str))`, by which runs know their prompts.
        """
        sha = hashlib.sha256(b'["')
        for text in _json_pieces(self.table):
            sha.update(json.dumps(text)[1:-1].encode())
        sha.update(b'"]')
        return sha.hexdigest()


def _is_null(cells: pa.ChunkedArray) -> bool:
    return bool(cells.null_count == len(cells))


def _json_pieces(table: pa.Table) -> Iterator[str]:
    yield f"[{json.dumps(str(table.schema))}, ["
    for first in range(0, len(table), _DIGEST_ROWS):
        rows = table.slice(first, _DIGEST_ROWS).to_pylist()
        yield (", " if first else "") + json.dumps(rows, default=str)[1:-1]
    yield "]]"


def _groups_from(metadata: pq.FileMetaData, start: int) -> tuple[int, list[int]]:
    """First row of the row group that holds row `start`, and the row groups from there on."""
    first = 0
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).num_rows
        if first + size > start:
            return first, list(range(group, metadata.num_row_groups))
        first += size
    return first, []
