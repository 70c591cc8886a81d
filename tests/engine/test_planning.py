from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.domain.requests import PromptRow
from darkroom.engine.planning import num_shards, plan, shard_tasks
from darkroom.prompts.dataset import PromptBlock
from tests.domain.test_identity import CELL

CELLS = {CELL.cell_id: CELL}


@given(st.integers(0, 50), st.integers(1, 12), st.sets(st.integers(0, 60)))
def test_what_is_planned_and_what_is_committed_is_everything_once(rows: int, size: int, done: set[int]) -> None:
    everything = list(plan(rows, size, ["a", "b"], "f"))
    committed = {everything[index].shard_id for index in done if index < len(everything)}
    left = list(plan(rows, size, ["a", "b"], "f", committed))
    assert {shard.shard_id for shard in left} | committed == {shard.shard_id for shard in everything}
    assert not {shard.shard_id for shard in left} & committed
    assert len(everything) == 2 * num_shards(rows, size)
    covered = [row for shard in everything if shard.cell_id == "a" for row in range(shard.start, shard.stop)]
    assert covered == list(range(rows))


def test_cells_of_one_range_follow_each_other() -> None:
    order = [(shard.start, shard.cell_id) for shard in plan(4, 2, ["a", "b"], "f")]
    assert order == [(0, "a"), (0, "b"), (2, "a"), (2, "b")]


def blocks_of(size: int, rows: int = 20):
    def blocks(start: int) -> Iterator[PromptBlock]:
        for first in range(start // size * size, rows, size):
            numbers = range(first, min(first + size, rows))
            extras = pa.table({"extra": [f"e{number}" for number in numbers]})
            yield PromptBlock(first, [PromptRow(number, str(number), "p") for number in numbers], extras)

    return blocks


@pytest.mark.parametrize("block_rows", [1, 3, 7, 100])
def test_tasks_carry_their_rows_whatever_the_blocks(block_rows: int) -> None:
    shards = list(plan(20, 6, [CELL.cell_id], "f"))[1:]
    tasks = list(shard_tasks(shards, CELLS, blocks_of(block_rows)))
    assert [[row.row for row in task.rows] for task in tasks] == [list(range(6, 12)), list(range(12, 18)), [18, 19]]
    assert tasks[0].extras["extra"].to_pylist() == [f"e{number}" for number in range(6, 12)]


def test_tasks_are_made_one_at_a_time() -> None:
    read: list[int] = []

    def blocks(start: int) -> Iterator[PromptBlock]:
        for block in blocks_of(5, 10_000)(start):
            read.append(block.start)
            yield block

    next(shard_tasks(plan(10_000, 5, [CELL.cell_id], "f"), CELLS, blocks))
    assert read == [0]
