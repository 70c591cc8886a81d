"""Grids, shards and their rows, and early choices."""

import itertools
import math
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import PromptRow
from darkroom.engine.planning import (
    Grid,
    drawn,
    expand,
    num_shards,
    plan,
    rounds,
    shard_tasks,
    survivors,
    usual_shard_size,
)  # fmt: skip
from darkroom.prompts.dataset import PromptBlock
from tests.domain.test_identity import PLAIN as CELL

AXES = {"guidance_scale": [1, 3, 5], "scheduler": ["ddim", "euler"]}
figures = st.dictionaries(st.text("abcdef0123", min_size=1), st.floats(allow_infinity=False), min_size=1)
axes = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.integers(), min_size=1, max_size=4, unique=True), min_size=1
)


@pytest.mark.slow
@given(axes)
def test_a_product_has_every_combination_once(axes: dict[str, list[int]]) -> None:
    cells = expand(Grid(axes))
    size = 1
    for values in axes.values():
        size *= len(values)
    assert len({tuple(sorted(cell.items())) for cell in cells}) == len(cells) == size
    assert all(cell[name] in values for cell in cells for name, values in axes.items())


def test_zip_pairs_values_and_refuses_unequal_lengths() -> None:
    cells = expand(Grid({"guidance_scale": [1, 3], "num_inference_steps": [5, 20]}, mode="zip"))
    assert cells == [{"guidance_scale": 1, "num_inference_steps": 5}, {"guidance_scale": 3, "num_inference_steps": 20}]
    with pytest.raises(DarkroomError, match="guidance_scale has 3, scheduler has 2"):
        expand(Grid(AXES, mode="zip"))


def test_listed_cells_come_after_the_axes_and_repeats_are_one() -> None:
    cells = expand(Grid({"guidance_scale": [1, 3]}, cells=[{"guidance_scale": 3}, {"guidance_scale": 7, "height": 64}]))
    assert cells == [{"guidance_scale": 1}, {"guidance_scale": 3}, {"guidance_scale": 7, "height": 64}]


def test_rules_leave_out_the_cells_that_match_all_of_one() -> None:
    kept = expand(Grid(AXES, exclude=[{"scheduler": "euler", "guidance_scale": [3, 5]}]))
    assert [tuple(cell.values()) for cell in kept] == [(1, "ddim"), (1, "euler"), (3, "ddim"), (5, "ddim")]


@pytest.mark.parametrize(
    "rule", [{"num_inference_steps": 5}, {"scheduler": "eulr"}, {"guidance_scale": "3"}, {"scheduler": ["a", "b"]}]
)
def test_a_rule_that_leaves_out_no_cell_is_refused(rule: dict[str, str | int]) -> None:
    with pytest.raises(DarkroomError, match=r"grid.exclude: no cell is left out by \{" + next(iter(rule))):
        expand(Grid(AXES, exclude=[{"scheduler": "euler"}, rule]))


@pytest.mark.parametrize("grid", [Grid(), Grid(AXES, exclude=[{"scheduler": ["ddim", "euler"]}])])
def test_a_grid_without_a_cell_is_refused(grid: Grid) -> None:
    with pytest.raises(DarkroomError, match="grid"):
        expand(grid)


@pytest.mark.slow
@given(st.integers(1, 24), st.integers(0, 5))
def test_a_random_subset_is_of_the_grid_and_its_seed_decides(count: int, seed: int) -> None:
    whole = {"a": [1, 2, 3, 4], "b": [1, 2, 3], "c": [1, 2]}
    drawn = expand(Grid(whole, num_cells=count, seed=seed))
    everything = expand(Grid(whole))
    assert drawn == [cell for cell in everything if cell in drawn]
    assert len(drawn) == count
    assert drawn == expand(Grid(whole, num_cells=count, seed=seed))


def test_a_subset_of_a_grown_grid_keeps_what_it_drew_but_for_what_the_new_cells_win() -> None:
    small = expand(Grid({"a": list(range(20))}, num_cells=5))
    grown = expand(Grid({"a": list(range(25))}, num_cells=5))
    assert all(cell in small or cell["a"] >= 20 for cell in grown)


# Successive halving -------------------------------------------------------------------------------------------------


@given(st.integers(1, 1000), st.integers(1, 100))
def test_rounds_double_until_all_is_rendered(num_shards: int, first: int) -> None:
    found = rounds(num_shards, first)
    assert found[0] == min(first, num_shards)
    assert found[-1] == num_shards
    assert all(later == min(2 * earlier, num_shards) > earlier for earlier, later in itertools.pairwise(found))


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_larger_draw_holds_the_smaller_one(count: int, more: int) -> None:
    starts = [64 * index for index in range(60)]
    assert drawn("f", starts, min(count, more)) <= drawn("f", starts, max(count, more)) <= set(starts)
    assert len(drawn("f", starts, count)) == count


def test_a_draw_is_no_prefix_of_the_file() -> None:
    starts = list(range(0, 6400, 64))
    assert drawn("f", starts, 10) != set(starts[:10])
    assert drawn("f", starts, 10) != drawn("g", starts, 10)


@pytest.mark.slow
@given(figures, st.floats(0.05, 0.95), st.booleans())
def test_the_best_go_on_and_at_least_one_does(found: dict[str, float], keep: float, higher: bool) -> None:
    kept = survivors(found, keep, higher)
    assert len(kept) == max(1, math.ceil(keep * len(found)))
    lost = [found[cell] for cell in found if cell not in kept]
    for cell in kept:
        for value in lost:
            if math.isnan(found[cell]):
                assert math.isnan(value)
            elif not math.isnan(value):
                assert found[cell] >= value if higher else found[cell] <= value


CELLS = {CELL.cell_id: CELL}


def test_a_run_has_larger_shards_where_it_would_have_very_many() -> None:
    assert [usual_shard_size(rows, 1, 1) for rows in (1, 6_400_000, 6_400_001, 10**8, 10**9)] == [
        64,
        64,
        128,
        1024,
        4096,
    ]
    assert usual_shard_size(10**6, 100, 1) == usual_shard_size(10**8, 1, 1)  # cells have shards of their own
    assert usual_shard_size(10**9, 1, 16) == 256  # what is lost with a worker stays some thousand images
    assert usual_shard_size(10**9, 1, 1000) == 64


@given(st.integers(0, 50), st.integers(1, 12), st.sets(st.integers(0, 60)))
def test_what_is_planned_and_what_is_committed_is_everything_once(rows: int, size: int, done: set[int]) -> None:
    everything = list(plan(rows, size, ["a", "b"], "f"))
    committed = {everything[index] for index in done if index < len(everything)}
    left = list(plan(rows, size, ["a", "b"], "f", committed))
    assert set(left) | committed == set(everything)
    assert not set(left) & committed
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
