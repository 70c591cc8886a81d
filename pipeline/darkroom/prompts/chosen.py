"""The chosen rows as sources: in their own order, or shuffled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.identity import digest
from darkroom.prompts.columns import ColumnMapping
from darkroom.prompts.conditions import Condition
from darkroom.prompts.extras import carried_field, concrete, extra_columns
from darkroom.prompts.selection import (
    PASS_ROWS,
    SAMPLE,
    Choice,
    RowSet,
    Selection,
    column_types,
    digests,
    extra_types,
)
from darkroom.prompts.sources import Fault, Source, SourceBlock

WHERE, SHUFFLE = "prompts.where", "prompts.shuffle"
MOST_SHUFFLED = 10_000_000  # rows, which are held in memory


def selected(
    sources: Sequence[Source], selection: Selection, mapping: ColumnMapping, name: str, groups: Sequence[str] = ()
) -> Sequence[Source]:
    """The sources with the rows that are chosen; `name`: of all of them, `groups`: as `Choice` has them. Raises
    DarkroomError for no condition."""
    if not selection.said:
        return sources
    condition = None if selection.where is None else Condition(selection.where, WHERE)
    choice = Choice(sources, selection, condition, mapping, name, groups)
    chosen = [ChosenSource(source, choice, place) for place, source in enumerate(sources)]
    return [ShuffledSource(name, chosen, selection)] if selection.shuffle else chosen


@dataclass(frozen=True, eq=False)
class ChosenSource:
    """A source's chosen rows, in its order."""

    source: Source
    choice: Choice
    place: int  # of the source

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def rows(self) -> RowSet:
        return self.choice.rows[self.place]

    def schema(self) -> pa.Schema | None:
        return self.source.schema()

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        if start >= len(self.rows):
            return
        first_row, number = self.rows.seek(start)
        for block in self.source.read(first_row, block_rows, types):
            positions = self.rows.among(block.start, len(block.table))
            skipped = min(max(0, start - number), len(positions))
            if skipped < len(positions):
                yield _taken(block, positions[skipped:], number + skipped)
            number += len(positions)
            if number >= len(self.rows):
                return

    def check_unchanged(self) -> None:
        self.source.check_unchanged()

    def content_digest(self) -> str:
        return self.source.content_digest()


@dataclass(frozen=True, eq=False)
class ShuffledSource:
    """The chosen rows of all sources in another order, which are held in memory."""

    name: str
    sources: Sequence[ChosenSource]
    selection: Selection

    def schema(self) -> pa.Schema | None:
        schemas = [source.schema() for source in self.sources]
        if None in schemas:
            return None
        try:
            return pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as error:
            raise self._mixed(error) from error

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        order = self._order[start:]
        if len(order):
            whole = self._whole(self._types if types is None else types)
            for first in range(0, len(order), block_rows):
                yield _taken(whole, order[first : first + block_rows], start + first)

    def check_unchanged(self) -> None:
        for source in self.sources:
            source.check_unchanged()

    def content_digest(self) -> str:
        return digest("shuffled", [source.content_digest() for source in self.sources], length=64)

    @cached_property
    def _order(self) -> np.ndarray:
        """(n,) of the chosen rows, joined."""
        count = sum(len(source.rows) for source in self.sources)
        if count > MOST_SHUFFLED:
            raise DarkroomError(
                f"{SHUFFLE}=true: {count:,} rows of {self.name} are chosen, and {MOST_SHUFFLED:,} are held in memory "
                f"at most; choose fewer by {SAMPLE}, or shuffle the file"
            )
        return np.argsort(digests(np.arange(count), self.selection.row_seed, "shuffle"))[: self.selection.limit]

    @cached_property
    def _types(self) -> pa.Schema | None:
        """Where rows alone tell the types of the extra columns: those that all rows agree on."""
        return extra_types(column_types(self.sources)) if self.schema() is None else None

    def _whole(self, types: pa.Schema | None) -> SourceBlock:
        """All chosen rows in their own order."""
        assert len(self._order) <= MOST_SHUFFLED
        blocks = [(source, block) for source in self.sources for block in source.read(0, PASS_ROWS, _of(source, types))]
        starts = np.cumsum([0, *(len(block.table) for _, block in blocks)])
        faults = {
            int(start) + position: fault
            for start, (_, block) in zip(starts, blocks, strict=False)
            for position, fault in block.faults.items()
        }

        def origin(position: int) -> str:
            place = int(np.searchsorted(starts, position, "right")) - 1
            source, block = blocks[place]
            return f"{source.name}, {block.origin(position - int(starts[place]))}"

        try:
            table = pa.concat_tables([block.table for _, block in blocks], promote_options="permissive")
        except pa.ArrowException as error:
            raise self._mixed(error) from error
        return SourceBlock(0, table, faults, called=origin)

    def _mixed(self, error: Exception) -> DarkroomError:
        return DarkroomError(
            f"{SHUFFLE}=true: rows of {self.name} differ in their columns' types ({first_line(error)}); make them one "
            "type"
        )


def _of(source: Source, types: pa.Schema | None) -> pa.Schema | None:
    """The types of the columns that a source has."""
    schema = source.schema()
    if types is None or schema is None:
        return types
    return pa.schema([each for each in types if each.name in schema.names])


def _taken(block: SourceBlock, positions: np.ndarray, start: int) -> SourceBlock:
    """Some rows of a block, the first of which has the number `start`."""
    try:
        table, known = block.table.take(pa.array(positions, pa.int64())), block.faults
    except pa.ArrowNotImplementedError:  # Arrow takes nothing of views, which polars has, and of run ends
        known = dict(block.faults)
        table = _without_views(block.table, known).take(pa.array(positions, pa.int64()))
    faults: dict[int, Fault] = {
        place: known[position] for place, position in enumerate(positions.tolist()) if position in known
    }
    lines = None if block.lines is None else [block.lines[position] for position in positions]
    return SourceBlock(start, table, faults, lines, lambda place: block.origin(int(positions[place])))


def _without_views(table: pa.Table, faults: dict[int, Fault]) -> pa.Table:
    """In the types that records have."""
    carried = pa.schema([concrete(carried_field("prompts", each)) for each in table.schema])
    return extra_columns(table, carried, faults)
