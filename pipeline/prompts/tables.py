"""Typed sources: Parquet files, read row group by row group, and Arrow tables in memory."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.domain.identity import digest
from pipeline.prompts.columns import READ, check_names, check_types, find_prompt
from pipeline.prompts.files import PromptFile
from pipeline.prompts.raw import RawBlock, with_prompt

_BUFFER_BYTES = 1 << 20  # of a column that is being read: memory stays flat however large a row group is


@dataclass(frozen=True)
class ParquetSource:
    file: PromptFile

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> pa.Schema:
        return with_prompt(self._schema, _prompt(self._schema))

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[RawBlock]:
        prompt = _prompt(self._schema)
        wanted = _wanted(self.schema(), types)
        with self.file.reading(), self.file.open_file() as opened:
            parquet = pq.ParquetFile(opened, buffer_size=_BUFFER_BYTES, pre_buffer=False)
            first, groups = _groups_from(parquet.metadata, start)
            named = [prompt if name == "prompt" else name for name in wanted]
            for batch in parquet.iter_batches(block_rows, row_groups=groups, columns=named):
                self.file.check_unchanged()
                table = pa.Table.from_batches([batch]).select(named).rename_columns(wanted)
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
        check_names(self.name, schema.names)
        check_types(self.name, schema)
        return schema


@dataclass(frozen=True)
class TableSource:
    name: str
    table: pa.Table

    def schema(self) -> pa.Schema:
        check_names(self.name, self.table.schema.names)
        check_types(self.name, self.table.schema)
        return with_prompt(self.table.schema, _prompt(self.table.schema))

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[RawBlock]:
        table = self.table.rename_columns(self.schema().names).select(_wanted(self.schema(), types))
        for first in range(start, len(table), block_rows):
            yield RawBlock(first, table.slice(first, block_rows))

    def check_unchanged(self) -> None:
        """A table cannot change."""

    def content_digest(self) -> str:
        return digest(json.dumps([str(self.table.schema), self.table.to_pylist()], default=str), length=64)


def _prompt(schema: pa.Schema) -> str:
    prompt = find_prompt(schema.names)
    assert prompt is not None, "names are checked first"
    return prompt


def _wanted(schema: pa.Schema, types: pa.Schema | None) -> list[str]:
    return [name for name in schema.names if name in READ or (types is not None and name in types.names)]


def _groups_from(metadata: pq.FileMetaData, start: int) -> tuple[int, list[int]]:
    """First row of the row group that holds row `start`, and the row groups from there on."""
    first = 0
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).num_rows
        if first + size > start:
            return first, list(range(group, metadata.num_row_groups))
        first += size
    return first, []
