"""Typed sources: Parquet files, read row group by row group, and Arrow tables in memory."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.domain.identity import digest
from darkroom.prompts.columns import READ, Reading
from darkroom.prompts.files import PromptFile
from darkroom.prompts.raw import RawBlock

_BUFFER_BYTES = 1 << 20  # of a column that is being read: memory stays flat however large a row group is


@dataclass(frozen=True)
class ParquetSource:
    file: PromptFile
    reading: Reading = field(default_factory=Reading)

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> pa.Schema:
        return _called(self._schema, self.reading)

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[RawBlock]:
        wanted = _wanted(self._schema, self.reading, types)
        with self.file.reading(), self.file.open_file() as opened:
            parquet = pq.ParquetFile(opened, buffer_size=_BUFFER_BYTES, pre_buffer=False)
            first, groups = _groups_from(parquet.metadata, start)
            for batch in parquet.iter_batches(block_rows, row_groups=groups, columns=list(wanted)):
                self.file.check_unchanged()
                table = pa.Table.from_batches([batch]).select(list(wanted)).rename_columns(list(wanted.values()))
                skipped = min(max(start - first, 0), len(batch))
                if skipped < len(batch):
                    yield RawBlock(first + skipped, table.slice(skipped))
                first += len(batch)

    def check_unchanged(self) -> None:
        self.file.check_unchanged()

    def content_digest(self) -> str:
        return self.file.content_digest()

    @cached_property
    def _schema(self) -> pa.Schema:
        with self.file.reading(), self.file.open_file() as opened:
            schema = pq.read_schema(opened)
        self.reading.check(self.name, schema.names)
        self.reading.check_types(self.name, schema)
        return schema


@dataclass(frozen=True)
class TableSource:
    name: str
    table: pa.Table

    def schema(self) -> pa.Schema:
        reading = Reading()
        reading.check(self.name, self.table.schema.names)
        reading.check_types(self.name, self.table.schema)
        return _called(self.table.schema, reading)

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[RawBlock]:
        wanted = _wanted(self.table.schema, Reading(), types)
        table = self.table.select(list(wanted)).rename_columns(list(wanted.values()))
        for first in range(start, len(table), block_rows):
            yield RawBlock(first, table.slice(first, block_rows))

    def check_unchanged(self) -> None:
        """A table cannot change."""

    def content_digest(self) -> str:
        return digest(json.dumps([str(self.table.schema), self.table.to_pylist()], default=str), length=64)


def _called(schema: pa.Schema, reading: Reading) -> pa.Schema:
    names = reading.called(schema.names).values()
    return pa.schema([column.with_name(name) for column, name in zip(schema, names, strict=True)])


def _wanted(schema: pa.Schema, reading: Reading, types: pa.Schema | None) -> dict[str, str]:
    """Column of the file -> our name of it."""
    asked = {*READ, *(types.names if types is not None else ())}
    return {theirs: ours for theirs, ours in reading.called(schema.names).items() if ours in asked}


def _groups_from(metadata: pq.FileMetaData, start: int) -> tuple[int, list[int]]:
    """First row of the row group that holds row `start`, and the row groups from there on."""
    first = 0
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).num_rows
        if first + size > start:
            return first, list(range(group, metadata.num_row_groups))
        first += size
    return first, []
