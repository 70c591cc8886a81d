"""What a file's folders and its name say of all of its rows, as columns; and files without rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from urllib.parse import unquote

import pyarrow as pa

from darkroom.prompts.columns import READ
from darkroom.prompts.sources import Source, SourceBlock
from darkroom.storage.input_files import InputFile

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"

Partition = Mapping[str, str | None]  # column -> its value, as of the folder `lang=en/`


@dataclass(frozen=True)
class PartitionedSource:
    """A source whose file's folders say columns, as in `lang=en/`: the same cells in every row, as text.

    A column that the file has itself stays its own.
    """

    source: Source
    partition: Partition

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


def partition_of(path: str) -> dict[str, str | None]:
    """What the folders of a path say, as Hive, Spark, DuckDB and Arrow name them."""
    pairs = [folder.partition("=") for folder in path.split("/")[:-1]]
    return {
        unquote(name): None if value == _NO_VALUE else unquote(value)
        for name, equals, value in pairs
        if name and equals
    }
