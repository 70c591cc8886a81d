"""Rows with numbers of their own that a cell's model does not take: found where prompts are checked, and invalid."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from darkroom.api.arguments import prompts_of
from darkroom.api.checking import Checked, Request, check
from darkroom.api.warnings import warnings
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import sampling_defaults
from darkroom.domain.settings import ModelRef
from darkroom.engine.planning import Grid
from darkroom.rendering.inspected_model import made_size
from darkroom.rendering.inspection import inspect_model
from tests.rendering.tiny_families import tiny
from tests.rendering.tiny_models import tiny_flux, tiny_refiner, tiny_sdxl

Rows = Sequence[Mapping[str, Any]]
SETTINGS = {"height": 64, "width": 64, "num_inference_steps": 5}


def checked(
    ref: ModelRef, rows: Rows, grid: Mapping[str, Sequence[Any]] | None = None, on_invalid: str = "fail", **more: Any
) -> Checked:
    given = sampling_defaults() | SETTINGS | more
    prompts = prompts_of(list(rows), on_invalid=on_invalid)
    return check(Request(prompts, ref, given, grid=Grid(grid) if grid else None), "cpu")


def errors(found: Checked) -> list[list[str | None]]:
    """Of each cell, why its rows cannot be rendered."""
    rows = next(found.request.prompts.dataset.blocks(0)).rows
    return [[row.error for row in found.rows_in(rows, item.cell.cell_id)] for item in found.cells]


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    folder = tmp_path_factory.mktemp("models")
    return ModelRef(str(tiny_sdxl(folder / "model")), refiner=str(tiny_refiner(folder / "refiner")))


def test_steps_of_which_one_of_two_models_has_none(refined: ModelRef) -> None:
    rows = [{"prompt": "a"}, {"prompt": "b", "num_inference_steps": 1}, {"prompt": "c", "num_inference_steps": 1}]
    with pytest.raises(DarkroomError, match=r"^prompts, row 1: its refiner_start=0.6 leaves no step of 1 to the model"):
        checked(refined, rows, refiner_start=0.6, guidance_scale=3.0)
    found = checked(refined, rows, {"refiner_start": [0.6, 1]}, "record", guidance_scale=3.0)
    refused, plain = errors(found)
    assert [bool(each) for each in refused] == [False, True, True]
    assert plain == [None] * 3
    assert (found.said.num_invalid, found.num_images) == (2, 4)
    assert any(text.startswith("2 prompts cannot be rendered") for text in warnings(found))


def test_guidance_in_some_steps_beside_a_refiner(refined: ModelRef) -> None:
    rows = [{"prompt": "a"}, {"prompt": "b", "guidance_scale": 5.0}]
    found = checked(refined, rows, None, "record", guidance_scale=1.0, guidance_stop=0.5)
    [[first, second]] = errors(found)
    assert first is None
    assert second
    assert second.startswith("its guidance_start and guidance_stop are shares of one model's steps")


@pytest.mark.slow
def test_a_size_that_a_pipeline_fails_on(tmp_path: Path) -> None:
    model = ModelRef(str(tiny("sana", tmp_path / "model")))
    rows = [{"prompt": "a"}, {"prompt": "b", "height": 72}, {"prompt": "c", "width": 96}]
    with pytest.raises(
        DarkroomError, match=r"^prompts, row 1: its height=72: .* multiples of 32 alone; give height=64"
    ):
        checked(model, rows)
    assert [bool(each) for each in errors(checked(model, rows, None, "record"))[0]] == [False, True, False]
    with pytest.raises(DarkroomError, match=r"^sampling\.height=72: .* multiples of 32 alone; give height=64"):
        checked(model, rows[:1], height=72)


def test_more_steps_than_a_scheduler_takes(refined: ModelRef) -> None:
    model = replace(refined, refiner=None)
    rows = [{"prompt": "a"}, {"prompt": "b", "num_inference_steps": 60}]
    found = checked(model, rows, {"scheduler": ["lcm", "euler"]}, "record")
    [[_, fault], others] = errors(found)
    assert fault
    assert fault.startswith("its num_inference_steps=60: sampling.scheduler=lcm takes 50 steps")
    assert others == [None, None]


def test_sizes_that_are_made_into_others_are_said_before(tmp_path: Path) -> None:
    model = ModelRef(str(tiny_flux(tmp_path / "model")))
    found = checked(model, [{"prompt": "a"}], height=72)
    assert any("FluxPipeline of model makes 64x64 of 64x72; records" in text for text in warnings(found))
    rows = [{"prompt": "a", "width": 64 + 8 * count} for count in range(9)]
    said = "makes 64x64 of 72x64, 80x64 of 88x64, 96x64 of 104x64 and others of 1 more; records will say so"
    assert any(said in text for text in warnings(checked(model, rows)))
    assert not any("records will say so" in text for text in warnings(checked(model, rows[:1])))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "made"),
    [
        ("stable_cascade", (1024, 1024), (1024, 1024)),
        ("stable_cascade", (32, 64), (40, 84)),
        ("hidream", (512, 1024), (90, 180)),
        ("kandinsky22", (72, 128), (128, 128)),
    ],
)
def test_the_sizes_of_classes_that_choose(tmp_path: Path, name: str, size: Any, made: Any) -> None:
    model = inspect_model(ModelRef(str(tiny(name, tmp_path / name))), "cpu")
    assert made_size(size, model) == made


def test_a_row_has_a_scheduler_of_its_own_that_fits_the_model(refined: ModelRef) -> None:
    rows = [{"prompt": "a", "scheduler": "euler_a"}, {"prompt": "b", "scheduler": ""}, {"prompt": "c"}]
    assert errors(checked(refined, rows)) == [[None] * 3]
    others = {"flow_euler": "does not fit", "DPM++ 3M SDE": "is not known", "ddim": "takes 1000 steps"}
    for name, said in others.items():
        rows[2] = {"prompt": "c", "scheduler": name, **({"num_inference_steps": 1001} if name == "ddim" else {})}
        with pytest.raises(DarkroomError, match=rf"^prompts, row 2: its .*{said}"):
            checked(refined, rows)
        assert [bool(each) for each in errors(checked(refined, rows, None, "record"))[0]] == [False, False, True]


def test_noise_of_steps_is_held_against_the_rows_own_scheduler(refined: ModelRef) -> None:
    rows = [{"prompt": "a", "scheduler": "ddim", "eta": 0.5}]
    assert errors(checked(refined, rows)) == [[None]]
    rows.append({"prompt": "b", "scheduler": "euler", "eta": 0.5})
    with pytest.raises(DarkroomError, match=r"^prompts, row 1: its eta=0.5: .*takes no eta"):
        checked(refined, rows)
