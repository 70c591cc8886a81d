"""Shards with their prompt rows, read as they are needed: what a dispatcher hands to workers.

Knows the order of rows; knows neither workers nor where the rows come from.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from darkroom.domain.cells import Cell, Shard
from darkroom.domain.requests import PromptRow
from darkroom.prompts.source import PromptBlock


@dataclass(frozen=True)
class ShardTask:
    """A shard, complete in itself: a worker needs no prompt file."""

    shard: Shard
    cell: Cell
    rows: tuple[PromptRow, ...]
    extras: pa.Table  # the rows' other columns, in the same order


def shard_tasks(
    shards: Iterable[Shard], cells: Mapping[str, Cell], blocks: Callable[[int], Iterator[PromptBlock]]
) -> Iterator[ShardTask]:
    """Pair shards (in row order) with their rows; `blocks(start)` reads the dataset from row `start` on.

    One pass, in the memory of one shard and one block; rows before the first shard are not read where the format
    can skip them.
    """
    window: _Window | None = None
    for shard in shards:
        window = window or _Window(blocks(shard.start))
        rows, extras = window.rows(shard.start, shard.stop)
        yield ShardTask(shard, cells[shard.cell_id], tuple(rows), extras)


class _Window:
    """The part of a stream of blocks that the current shard can see."""

    def __init__(self, blocks: Iterator[PromptBlock]) -> None:
        self._blocks = blocks
        self._held: list[PromptBlock] = []

    def rows(self, start: int, stop: int) -> tuple[list[PromptRow], pa.Table]:
        self._held = [block for block in self._held if _stop(block) > start]
        while not self._held or _stop(self._held[-1]) < stop:
            block = next(self._blocks)
            if _stop(block) > start:
                self._held.append(block)
        parts = [_cut(block, start, stop) for block in self._held if block.start < stop]
        return [row for part in parts for row in part.rows], pa.concat_tables(part.extras for part in parts)


def _stop(block: PromptBlock) -> int:
    return block.start + len(block.rows)


def _cut(block: PromptBlock, start: int, stop: int) -> PromptBlock:
    first, last = max(start - block.start, 0), min(stop - block.start, len(block.rows))
    return PromptBlock(block.start + first, block.rows[first:last], block.extras.slice(first, last - first))
