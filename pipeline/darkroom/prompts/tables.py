"""Typed sources: Parquet files, read row group by row group, and Arrow tables in memory."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.prompts.columns import ColumnMapping
from darkroom.prompts.sources import SourceBlock
from darkroom.storage.input_files import InputFile

_BUFFER_BYTES = 1 << 20  # of a column that is being read: memory stays flat however large a row group is
_DIGEST_ROWS = 8192  # as text at once


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
            schema = pq.read_schema(opened)
        self.mapping.check_schema(self.name, schema)
        return schema


@dataclass(frozen=True)
class TableSource:
    name: str
    table: pa.Table
    mapping: ColumnMapping = field(default_factory=ColumnMapping)

    def schema(self) -> pa.Schema:
        self.mapping.check_schema(self.name, self.table.schema)
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
