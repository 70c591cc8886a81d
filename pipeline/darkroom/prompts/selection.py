"""Some rows of a dataset's sources: those that hold a condition, of these a random sample, shuffled, the first ones.

Which they are is found in one pass that reads no more columns than the condition needs, and is held as a bit a row.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.identity import digest
from darkroom.prompts.columns import ColumnMapping
from darkroom.prompts.conditions import Condition
from darkroom.prompts.sources import Fault, Source, SourceBlock

WHERE, SAMPLE, SHUFFLE = "prompts.where", "prompts.sample", "prompts.shuffle"
MOST_SHUFFLED = 10_000_000  # rows, which are held in memory
_PASS_ROWS = 16_384
_STRIDE = 8192  # rows of which the chosen ones are counted together
_CHUNK = 1 << 20  # rows that are candidates of a sample at once


@dataclass(frozen=True)
class Selection:
    """What is chosen, in this order; the default is every row."""

    where: str | None = None  # SQL, of one row
    sample: int | None = None  # so many at random
    shuffle: bool = False
    limit: int | None = None  # the first ones
    row_seed: int = 0  # of sample and shuffle

    @property
    def said(self) -> dict[str, object]:
        """What differs from the default."""
        return {name: value for name, value in vars(self).items() if value != getattr(Selection, name)}


def selected(sources: Sequence[Source], selection: Selection, mapping: ColumnMapping, name: str) -> Sequence[Source]:
    """The sources with the rows that are chosen; `name`: of all of them. Raises DarkroomError for no condition."""
    if not selection.said:
        return sources
    condition = None if selection.where is None else Condition(selection.where, WHERE)
    choice = _Choice(sources, selection, condition, mapping, name)
    chosen = [ChosenSource(source, choice, place) for place, source in enumerate(sources)]
    return [ShuffledSource(name, chosen, selection)] if selection.shuffle else chosen


# Which rows ---------------------------------------------------------------------------------------------------------


class RowSet:
    """Some rows of a source."""

    def __init__(self, mask: np.ndarray) -> None:
        """`mask`: (N,) bool."""
        self._bits = np.packbits(mask, bitorder="little")
        counts = np.add.reduceat(mask, range(0, len(mask), _STRIDE), dtype=np.int64) if len(mask) else ()
        self._before = np.cumsum([0, *counts])  # of rows in the set, before each stride

    def __len__(self) -> int:
        return int(self._before[-1])

    def among(self, start: int, count: int) -> np.ndarray:
        """Of `count` rows from `start` on, the positions of those in the set."""
        first = start // 8
        mask = np.unpackbits(self._bits[first : (start + count + 7) // 8], bitorder="little")
        return np.flatnonzero(mask[start - 8 * first :][:count])

    def seek(self, number: int) -> tuple[int, int]:
        """Where to read from for the set's row of this number: a row, and how many of the set lie before it."""
        stride = int(np.searchsorted(self._before, number, "right")) - 1
        return stride * _STRIDE, int(self._before[stride])


@dataclass(frozen=True, eq=False)
class _Choice:
    """Of all sources together, found when it is first asked for."""

    sources: Sequence[Source]
    selection: Selection
    condition: Condition | None
    mapping: ColumnMapping
    name: str

    @cached_property
    def rows(self) -> list[RowSet]:
        """Of each source."""
        selection = self.selection
        most = None if selection.shuffle else selection.limit
        masks = self._masks(most if selection.sample is None else None)
        if selection.sample is not None:
            chosen = self._sampled(masks, selection.sample)
            masks = _split(chosen if most is None else chosen[:most], masks)
        elif most is not None:
            masks = _split(_rows_of(masks)[:most], masks)
        return [RowSet(mask) for mask in masks]

    def _masks(self, most: int | None) -> list[np.ndarray]:
        """(N,) bool of each source's rows, as far as `most` rows hold the condition."""
        masks, count, seen = [], 0, dict[str, str]()
        self._check_headers()
        for source in self.sources:
            parts = [np.empty(0, bool)]
            for block in self._read(source) if most is None or count < most else ():
                names = self._names(block.table.schema)
                seen |= names
                parts.append(self._holds(block, names))
                count += int(parts[-1].sum())
                if most is not None and count >= most:
                    break
            masks.append(np.concatenate(parts))
        num_rows = sum(len(mask) for mask in masks)
        if num_rows and self.condition:
            self.condition.check(seen)
            if not count:
                raise DarkroomError(
                    f"{WHERE}={self.condition.text}: no row of {self.name} is so; give another condition"
                )
        return masks

    def _read(self, source: Source) -> Iterator[SourceBlock]:
        schema = source.schema()
        types = None
        if schema is not None:
            found = self.condition.found(self._names(schema)) if self.condition else {}
            types = pa.schema([schema.field(name) for name in dict.fromkeys(found.values())])
        yield from source.read(0, _PASS_ROWS, types)

    def _holds(self, block: SourceBlock, names: Mapping[str, str]) -> np.ndarray:
        """(N,) bool; a row that cannot be read is chosen, so that it is told."""
        if self.condition is None:
            return np.ones(len(block.table), bool)
        mask = self.condition.holds(block.table, self.condition.found(names))
        mask[list(block.faults)] = True
        return mask

    def _names(self, schema: pa.Schema) -> dict[str, str]:
        """Whatever a column may be called -> its name in the schema."""
        read = {column: name for name, column in self.mapping.columns.items() if column and name in schema.names}
        return read | {name: name for name in schema.names}

    def _check_headers(self) -> None:
        """Before any row is read, where headers say all columns."""
        schemas = [source.schema() for source in self.sources]
        if self.condition and None not in schemas:
            self.condition.check({name: name for schema in schemas for name in self._names(schema)})

    def _sampled(self, masks: Sequence[np.ndarray], count: int) -> np.ndarray:
        """(count,) rows of all sources joined, ascending: those whose numbers have the lowest digests."""
        joined, kept, num_rows = np.concatenate(masks), np.empty(0, np.int64), 0
        for start in range(0, len(joined), _CHUNK):
            rows = start + np.flatnonzero(joined[start : start + _CHUNK])
            num_rows += len(rows)
            among = np.concatenate([kept, rows])
            order = np.argsort(_digests(among, self.selection.row_seed, "sample"))
            kept = among[order[:count]]
        if num_rows < count:
            raise DarkroomError(
                f"{SAMPLE}={count}: {self.name} has {num_rows:,} rows to choose from; give a smaller number, or "
                "prompts.limit, which takes what there is"
            )
        return np.sort(kept)


def _rows_of(masks: Sequence[np.ndarray]) -> np.ndarray:
    return np.flatnonzero(np.concatenate(masks))


def _split(rows: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Masks as long as these, of rows of all sources joined."""
    joined = np.zeros(sum(map(len, like)), bool)
    joined[rows] = True
    return np.split(joined, np.cumsum([len(mask) for mask in like])[:-1])


def _digests(rows: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """(n,) uint64, all different: SplitMix64 of each number (Steele, Lea and Flood 2014)."""
    mixed = rows.astype(np.uint64) + np.uint64(int(digest(purpose, seed, length=16), 16))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


# Sources of them ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ChosenSource:
    """A source's chosen rows, in its order."""

    source: Source
    choice: _Choice
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
        whole, order = self._whole(types), self._order
        for first in range(start, len(order), block_rows):
            yield _taken(whole, order[first : first + block_rows], first)

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
        return np.argsort(_digests(np.arange(count), self.selection.row_seed, "shuffle"))[: self.selection.limit]

    def _whole(self, types: pa.Schema | None) -> SourceBlock:
        """All chosen rows in their own order."""
        assert len(self._order) <= MOST_SHUFFLED
        blocks = [
            (source, block) for source in self.sources for block in source.read(0, _PASS_ROWS, _of(source, types))
        ]
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
    faults: dict[int, Fault] = {
        place: block.faults[position] for place, position in enumerate(positions.tolist()) if position in block.faults
    }
    lines = None if block.lines is None else [block.lines[position] for position in positions]
    called = lambda place: block.origin(int(positions[place]))  # noqa: E731 - a value
    return replace(
        block, start=start, table=block.table.take(pa.array(positions)), faults=faults, lines=lines, called=called
    )
