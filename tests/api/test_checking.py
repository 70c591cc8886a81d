"""Checks before anything is rendered: axes that would do nothing, and presets as models of cells."""

from dataclasses import replace
from typing import Any

import pytest

from darkroom.api.arguments import prompts_of
from darkroom.api.checking import Checked, Request, check
from darkroom.api.options import sampling_defaults
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef
from darkroom.engine.planning import Grid
from darkroom.runs.presets import presets, with_preset

SIZE = {"height": 16, "width": 16}


def checked(prompts: Any, grid: Grid, model: str = "paint", **options: Any) -> Checked:
    ref = presets()[model]
    return check(Request(prompts_of(prompts, **options), ref, sampling_defaults() | SIZE, grid=grid), "cpu")


@pytest.mark.parametrize(
    ("name", "own", "values"),
    [("guidance_scale", [2, 3], [1, 3]), ("num_images_per_prompt", [2, 2], [1, 3]), ("seed", [5, 6], [0, 7])],
)
def test_an_axis_that_every_row_overrides_is_refused(name: str, own: list, values: list) -> None:
    rows = [{"prompt": "a", name: own[0]}, {"prompt": "b", name: own[1]}]
    for grid in (Grid({name: values, "num_inference_steps": [1, 2]}), Grid(cells=[{name: value} for value in values])):
        with pytest.raises(DarkroomError, match=rf"^grid.axes.{name}: every prompt row .*columns.{name}=null"):
            checked(rows, grid)
        assert len({item.cell.cell_id for item in checked(rows, grid, columns={name: None}).cells}) > 1
        checked([*rows, "c"], grid)
    checked(rows, Grid({name: values[:1]}))  # one cell, as a plain run


def test_rows_that_cannot_be_rendered_override_nothing() -> None:
    rows = [{"prompt": "a", "prompt_id": "x", "seed": 1}, {"prompt": "b", "prompt_id": "x", "seed": 2}]
    grid = Grid({"seed": [0, 7]})
    with pytest.raises(DarkroomError, match="every prompt row has a seed"):
        checked(rows, grid, on_invalid="record")
    found = checked([*rows, {"prompt": "c", "prompt_id": "y"}], grid, on_invalid="record")
    assert found.scan.num_overriding == {"seed": 1}


def test_a_cell_may_name_a_preset() -> None:
    found = checked(["a"], Grid({"repo_id": ["paint", "demo"], "num_inference_steps": [1]}), "sdxl")
    assert [item.info.ref for item in found.cells] == [presets()["paint"], presets()["demo"]]
    [own] = checked(["a"], Grid(cells=[{"repo_id": "demo", "dtype": "bfloat16"}])).cells
    assert own.info.ref == ModelRef("darkroom/demo", dtype="bfloat16")


def test_a_renderer_of_ones_own_reads_a_name_of_a_preset_as_it_is() -> None:
    ref = ModelRef("", make="tests.rendering.own_renderers:make")
    grid = Grid({"repo_id": ["demo", "sdxl"]})
    asked = sampling_defaults() | SIZE
    found = check(Request(prompts_of(["a"]), ref, asked, grid=grid), "cpu")
    assert [item.info.ref for item in found.cells] == [replace(ref, repo_id=name) for name in ("demo", "sdxl")]


def test_a_preset_has_its_usual_settings_but_what_was_said() -> None:
    known = presets()
    assert with_preset(known["demo"], "sd15") == known["sd15"]
    assert with_preset(ModelRef("a/b"), "demo") == known["demo"]
    assert with_preset(ModelRef("a/b", dtype="float16"), "sd15") == ModelRef(
        known["sd15"].repo_id, dtype="float16", variant="fp16"
    )
