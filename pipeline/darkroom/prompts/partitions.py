"""Sources that are no format: one whose file's folders say columns, as in `lang=en/`, and a file of no bytes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa

from darkroom.prompts.columns import READ
from darkroom.prompts.files import PromptFile
from darkroom.prompts.raw import RawBlock, Source


@dataclass(frozen=True)
class PartitionedSource:
    """A source with the same further cells in every row, as text; a column that the file has itself stays its own."""

    source: Source
    said: Mapping[str, str | None]

    @property
    def name(self) -> str:
        return self.source.name

    def schema(self) -> pa.Schema | None:
        return self._schema

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[RawBlock]:
        wanted = set(self.said)
        if types is not None or self._schema is not None:
            wanted &= {*READ, *(types.names if types is not None else ())}
        for raw in self.source.read(start, block_rows, types):
            yield replace(raw, table=self._with_said(raw.table, wanted))

    def check_unchanged(self) -> None:
        self.source.check_unchanged()

    def content_digest(self) -> str:
        return self.source.content_digest()

    @cached_property
    def _schema(self) -> pa.Schema | None:
        schema = self.source.schema()
        for name in self.said:
            if schema is not None and name not in schema.names:
                schema = schema.append(pa.field(name, pa.string()))
        return schema

    def _with_said(self, table: pa.Table, wanted: set[str]) -> pa.Table:
        for name, value in self.said.items():
            if name in wanted and name not in table.column_names:
                table = table.append_column(name, pa.repeat(pa.scalar(value, pa.string()), len(table)))
        return table


@dataclass(frozen=True)
class EmptySource:
    """A file of no bytes among others, as Spark writes for a part without rows."""

    file: PromptFile

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> None:
        """It has no columns."""

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[RawBlock]:
        return iter(())

    def check_unchanged(self) -> None:
        self.file.check_unchanged()

    def content_digest(self) -> str:
        return self.file.content_digest()
