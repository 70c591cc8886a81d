"""Which rows of a dataset's sources are chosen: those that hold a condition, of these a random sample, the first ones.

They are found in one pass that reads no more columns than the condition needs, after one that finds these where no
header has them, and are held as a bit a row.
"""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.prompts.checks import read_values
from darkroom.prompts.columns import READ, ColumnMapping
from darkroom.prompts.conditions import Condition
from darkroom.prompts.extras import carried_field, extra_columns, is_json_text, unify
from darkroom.prompts.sources import Source, SourceBlock

SAMPLE, WEIGHTS = "prompts.sample", "prompts.weights"
PASS_ROWS = 16_384
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
    weights: tuple[float, ...] = ()  # of each group of sources: how many of its rows are drawn, to those of the others

    @property
    def said(self) -> dict[str, object]:
        """What differs from the default."""
        found = {name: value for name, value in vars(self).items() if value != getattr(Selection, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def column_types(sources: Sequence[Source]) -> pa.Schema:
    """Columns of all sources by their headers, or by every row where these are all that tells them."""
    known = pa.schema([])
    for source in sources:
        schema = source.schema()
        blocks = source.read(0, PASS_ROWS, None) if schema is None else ()
        for each in [schema] if schema is not None else (block.table.schema for block in blocks):
            known = _with_types(source.name, known, each)
    return known


def extra_types(types: pa.Schema) -> pa.Schema:
    """Those that a source is asked for: of columns that are not read."""
    return pa.schema([each for each in types if each.name not in READ])


def _with_types(source: str, known: pa.Schema, found: pa.Schema) -> pa.Schema:
    """Types that are alike stay as they are; others become the one that records have, or text."""
    for each in found:
        index = known.get_field_index(each.name)
        if index < 0:
            known = known.append(each)
        elif not known.field(index).equals(each, check_metadata=True):
            before, now = (pa.schema([carried_field(source, one)]) for one in (known.field(index), each))
            known = known.set(index, unify(source, before, now, loose=True).field(0))
    return known


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
class Choice:
    """Of all sources together, found when it is first asked for."""

    sources: Sequence[Source]
    selection: Selection
    condition: Condition | None
    mapping: ColumnMapping
    name: str
    groups: Sequence[str] = ()  # of each source, where there are several: what it is of

    @cached_property
    def rows(self) -> list[RowSet]:
        """Of each source."""
        selection = self.selection
        most = None if selection.shuffle else selection.limit
        masks = self._masks(most if selection.sample is None and not selection.weights else None)
        if selection.weights:
            masks = self._weighted(masks, selection.sample or selection.limit)
            if selection.sample is None:
                most = None  # which is how many were drawn
        if selection.sample is not None:
            chosen = _rows_of(masks) if selection.weights else self._sampled(masks, selection.sample)
            masks = _split(chosen if most is None else chosen[:most], masks)
        elif most is not None:
            masks = _split(_rows_of(masks)[:most], masks)
        return [RowSet(mask) for mask in masks]

    @cached_property
    def _types(self) -> pa.Schema:
        """Of the condition's columns. Raises DarkroomError for one that is nowhere, before any row is held against
        it."""
        if self.condition is None:
            return pa.schema([])
        types = column_types(self.sources)
        if types.names:
            self.condition.check(self._names(types))
        found = self.condition.found(self._names(types))
        return pa.schema([types.field(name) for name in dict.fromkeys(found.values())])

    def _masks(self, most: int | None) -> list[np.ndarray]:
        """(N,) bool of each source's rows, as far as `most` rows hold the condition."""
        masks, count = [], 0
        for source in self.sources:
            parts = [np.empty(0, bool)]
            for block in source.read(0, PASS_ROWS, extra_types(self._types)) if most is None or count < most else ():
                parts.append(self._holds(block))
                count += int(parts[-1].sum())
                if most is not None and count >= most:
                    break
            masks.append(np.concatenate(parts))
        if self.condition and not count and any(map(len, masks)):
            raise DarkroomError(f"{self.condition.shown}: no row of {self.name} is so; give another condition")
        return masks

    def _holds(self, block: SourceBlock) -> np.ndarray:
        """(N,) bool; a row that cannot be read is chosen, so that it is told."""
        if self.condition is None:
            return np.ones(len(block.table), bool)
        values = pa.table({each.name: _values(block.table, each) for each in self._types})
        mask = self.condition.holds(
            values if values.num_columns else block.table, self.condition.found(self._names(self._types))
        )
        mask[list(block.faults)] = True
        return mask

    def _names(self, schema: pa.Schema) -> dict[str, str]:
        """Whatever a column may be called -> its name in the schema."""
        read = {column: name for name, column in self.mapping.columns.items() if column and name in schema.names}
        return read | {name: name for name in schema.names}

    def _weighted(self, masks: Sequence[np.ndarray], count: int | None) -> list[np.ndarray]:
        """Masks of so many rows in all, by the groups' weights; None: of as many as all groups have their shares of.

        Of fewer than a `limit` there are as many as that.
        """
        names = list(dict.fromkeys(self.groups))
        weights = self.selection.weights
        if len(names) != len(weights):
            raise DarkroomError(
                f"{WEIGHTS}={list(weights)}: needed {len(names)}, one for each file or folder of prompts.uri=[...]"
            )
        groups: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for mask, group in zip(masks, self.groups, strict=True):
            groups[group].append(mask)
        sizes = [sum(int(mask.sum()) for mask in group) for group in groups.values()]
        most = math.floor(min(size * sum(weights) / weight for size, weight in zip(sizes, weights, strict=True)))
        if not most or (self.selection.sample or 0) > most:
            name, size = min(zip(names, sizes, strict=True), key=lambda each: each[1] / weights[names.index(each[0])])
            raise DarkroomError(
                f"{WEIGHTS}={list(weights)}: {name} has {size:,} rows to choose from, which are too few for its share; "
                f"give {SAMPLE}={most} or less, or another weight"
            )
        shares = _shares(min(count or most, most), weights)
        chosen = {
            name: iter(_split(self._sampled(group, share), group))
            for (name, group), share in zip(groups.items(), shares, strict=True)
        }
        return [next(chosen[name]) for name in self.groups]

    def _sampled(self, masks: Sequence[np.ndarray], count: int) -> np.ndarray:
        """(count,) rows of all sources joined, ascending: those whose numbers have the lowest digests."""
        joined, kept, num_rows = np.concatenate(masks), np.empty(0, np.int64), 0
        for start in range(0, len(joined), _CHUNK):
            rows = start + np.flatnonzero(joined[start : start + _CHUNK])
            num_rows += len(rows)
            among = np.concatenate([kept, rows])
            order = np.argsort(digests(among, self.selection.row_seed, "sample"))
            kept = among[order[:count]]
        if num_rows < count:
            raise DarkroomError(
                f"{SAMPLE}={count}: {self.name} has {num_rows:,} rows to choose from; give a smaller number, or "
                "prompts.limit, which takes what there is"
            )
        return np.sort(kept)


def _shares(count: int, weights: Sequence[float]) -> list[int]:
    """`count` by these weights, by largest remainders."""
    exact = [count * weight / sum(weights) for weight in weights]
    shares = [math.floor(each) for each in exact]
    by_remainder = sorted(range(len(weights)), key=lambda place: shares[place] - exact[place])
    for place in by_remainder[: count - sum(shares)]:
        shares[place] += 1
    return shares


def _rows_of(masks: Sequence[np.ndarray]) -> np.ndarray:
    return np.flatnonzero(np.concatenate(masks))


def _split(rows: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Masks as long as these, of rows of all sources joined."""
    joined = np.zeros(sum(map(len, like)), bool)
    joined[rows] = True
    return np.split(joined, np.cumsum([len(mask) for mask in like])[:-1])


def digests(rows: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """(n,) uint64, all different: SplitMix64 of each number (Steele, Lea and Flood 2014)."""
    mixed = rows.astype(np.uint64) + np.uint64(int(digest(purpose, seed, length=16), 16))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


# Cells of a condition ------------------------------------------------------------------------------------------------


def _values(table: pa.Table, field: pa.Field) -> pa.Array | pa.ChunkedArray:
    """A column as what its cells say; null where that is none of its type, such as bytes that are no text."""
    if field.name not in table.column_names:
        return pa.nulls(len(table), field.type)
    if field.name in READ:
        return read_values(table, field.name)
    cells = table.column(field.name)
    if is_json_text(field):
        return pa.array([_unquoted(cell) for cell in cells.to_pylist()], pa.string())
    if pa.types.is_float16(cells.type):  # which DuckDB does not know
        return cells.cast(pa.float32())
    with suppress(pa.ArrowInvalid):
        cells.validate(full=True)
        if cells.type == field.type:
            return cells
    return extra_columns(table.select([field.name]), pa.schema([field]), {}).column(0)


def _unquoted(cell: str | None) -> str | None:
    """JSON text as text where that is what it holds."""
    value = None if cell is None else json.loads(cell)
    return value if isinstance(value, str) else cell
