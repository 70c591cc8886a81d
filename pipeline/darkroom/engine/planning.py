"""Which shards are left to do, and their prompt rows, read as they are needed."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from darkroom.domain.identity import Cell, Shard, planned_shard
from darkroom.domain.requests import PromptRow
from darkroom.engine.tasks import ShardTask
from darkroom.prompts.dataset import PromptBlock


def plan(
    num_rows: int, shard_size: int, cell_ids: Sequence[str], fingerprint: str, committed: Container[str] = ()
) -> Iterator[Shard]:
    """Shards that are not committed (`committed`: shard_ids), range by range and cell by cell within a range.

    A pure function. This order lets a worker reuse the text embeddings of a range in the next cell.
    """
    for start in range(0, num_rows, shard_size):
        stop = min(start + shard_size, num_rows)
        for cell_id in cell_ids:
            planned = planned_shard(cell_id, fingerprint, start, stop)
            if planned.shard_id not in committed:
                yield planned


def num_shards(num_rows: int, shard_size: int) -> int:
    """Of one cell."""
    return -(-num_rows // shard_size)


def shard_tasks(
    shards: Iterable[Shard], cells: Mapping[str, Cell], blocks: Callable[[int], Iterator[PromptBlock]]
) -> Iterator[ShardTask]:
    """Pair shards (in row order) with their rows; `blocks(start)` reads the dataset from row `start` on.

    One pass, in the memory of one shard and one block; rows before the first shard are not read where the format
    can skip them.
    """
    window: _Window | None = None
    for planned in shards:
        window = window or _Window(blocks(planned.start))
        rows, extras = window.rows(planned.start, planned.stop)
        yield ShardTask(planned, cells[planned.cell_id], tuple(rows), extras)


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
