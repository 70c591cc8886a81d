"""A sweep's early choice that could drop no cell is named before anything is rendered, with a remedy that works."""

import re

import pytest

from darkroom.api.arguments import prompts_of
from darkroom.api.checking import Checked, Request, check
from darkroom.api.halving import halving_fault
from darkroom.api.options import EngineOptions, HalvingOptions
from darkroom.domain.settings import ModelRef
from darkroom.engine.planning import Grid
from darkroom.rendering.renderer import PAINT_REPO_ID


def checked(num_prompts: int, shard_size: int, num_cells: int = 4) -> Checked:
    prompts = prompts_of([f"scene {number}" for number in range(num_prompts)])
    grid, engine = Grid({"seed": list(range(num_cells))}), EngineOptions(shard_size=shard_size)
    return check(Request(prompts, ModelRef(PAINT_REPO_ID), engine=engine, grid=grid), "cpu")


def options(num_images: int = 64, keep: float = 0.5) -> HalvingOptions:
    return HalvingOptions("demo_clip.clip_score", num_images, keep)


@pytest.mark.parametrize(
    ("num_prompts", "shard_size", "num_images", "keep"),
    [(64, 64, 64, 0.5), (64, 8, 64, 0.5), (65, 16, 500, 0.5), (20, 64, 8, 0.5), (64, 8, 8, 0.9), (7, 3, 64, 0.76)],
)
def test_a_choice_that_drops_nothing_is_named_and_its_remedy_drops_some(
    num_prompts: int, shard_size: int, num_images: int, keep: float
) -> None:
    fault = halving_fault(checked(num_prompts, shard_size), options(num_images, keep), None)
    for _ in range(3):  # one thing at a time
        given = {name: float(value) for name, value in re.findall(r"(\w+)=(\d[\d.]*)", fault.partition("; give ")[2])}
        assert given
        num_images, keep = int(given.get("num_images", num_images)), given.get("keep", keep)
        shard_size = int(given.get("shard_size", shard_size))
        fault = halving_fault(checked(num_prompts, shard_size), options(num_images, keep), None)
        if not fault:
            break
    assert not fault


def test_one_cell_and_too_few_prompts_are_named() -> None:
    assert "one cell" in halving_fault(checked(64, 8, num_cells=1), options(8), None)
    assert "more prompts" in halving_fault(checked(2, 64), options(), None)


def test_a_choice_that_drops_cells_is_not_named() -> None:
    assert halving_fault(checked(64, 8), options(8), None) == ""


def test_a_runs_own_shards_decide() -> None:
    found = checked(64, 64)
    fault = halving_fault(found, options(8), found.run_info())
    assert "another output.uri, since a run keeps its shards" in fault
    assert halving_fault(found, options(8), checked(64, 8).run_info()) == ""
