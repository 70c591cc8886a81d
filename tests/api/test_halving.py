"""A sweep's early choice that could drop no cell is named before anything is rendered, with a remedy that works."""

import html
import re
from pathlib import Path

import pytest

from darkroom.api.arguments import prompts_of
from darkroom.api.checking import Checked, Request, check
from darkroom.api.evaluation import check_evaluation
from darkroom.api.evaluation_options import EvaluationOptions, HalvingOptions
from darkroom.api.halving import check_first_round, halving_fault
from darkroom.api.options import EngineOptions
from darkroom.api.run import Run
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef
from darkroom.engine.planning import Grid
from darkroom.rendering.renderer import PAINT_REPO_ID
from darkroom.reporting.summary import summary
from darkroom.runs.cells import Dropped, put_choices
from tests.reporting.runs import CLIP, cell, content, evaluate, rendered


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


def test_a_figure_that_ranks_by_chance_is_refused_and_its_remedies_are_not() -> None:
    measured = check_evaluation(EvaluationOptions(reference="demo"), lambda event: None)
    found = checked(256, 8)

    def refused(figure: str, num_images: int) -> None:
        check_first_round(found, HalvingOptions(figure, num_images, 0.5), measured, None)

    with pytest.raises(
        DarkroomError, match=r"halving.num_images=30: 32 images in 64 .* worse one .* 128 or more, or by kid"
    ):
        refused("demo_clip.frechet", 30)
    refused("demo_clip.frechet", 128)
    refused("demo_clip.kid", 30)


@pytest.mark.slow
def test_dropped_cells_have_no_figures_in_python_as_on_the_page(tmp_path: Path) -> None:
    """A figure of a few images is none of the cell's, and would win by chance."""
    cells = [cell(guidance_scale=scale) for scale in (1.0, 5.0)]
    store, info, by_id = rendered(tmp_path, ["a", "b"], cells)
    evaluate(store, by_id, CLIP)
    kept, lost = by_id
    put_choices(store, by_id, [Dropped(lost, 1, 2, 2, CLIP.name, 1.0, 2, 2, 1)])
    assert list(Run(store, info, by_id).figures) == [kept]
    shown = content((store, info, by_id))
    assert [each.cell_id for each in shown.cells if each.figures] == [kept]
    # What is left is called by the setting that it won by.
    assert shown.title.startswith("Sweep of ")
    assert [(axis.name, axis.values) for axis in shown.axes] == [("guidance_scale", (1.0,))]
    assert [each.settings for each in shown.dropped] == [{"guidance_scale": 5.0}]
    assert "guidance_scale=5: round 1 of 2, after 2 images" in html.unescape(summary(shown))
