"""Checks before anything is rendered: axes that would do nothing, and presets as models of cells."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from darkroom.api.arguments import prompts_of
from darkroom.api.checking import Checked, Request, check, check_executed
from darkroom.api.options import EngineOptions
from darkroom.api.warnings import warnings
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import sampling_defaults
from darkroom.domain.settings import QUANTIZATIONS, ModelRef, Sampling
from darkroom.engine.planning import Grid
from darkroom.runs.commands import presets, with_preset
from tests.rendering.tiny_loras import tiny_lora
from tests.rendering.tiny_models import hub_copy, tiny_sdxl

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


def _checked_demo(model: dict[str, Any], rows: Any = ("a",), **given: Any) -> Checked:
    ref, engine = replace(presets()["demo"], **model), EngineOptions(**given.pop("engine", {}))
    asked = sampling_defaults() | {"height": 64, "width": 64} | given
    return check(Request(prompts_of(list(rows)), ref, asked, engine=engine), "cpu")


def test_offloading_is_refused_where_there_is_nothing_to_offload_from() -> None:
    with pytest.raises(
        DarkroomError, match=r"^model.offload=model: on this device, cpu, .* leave it out, or give engine"
    ):
        _checked_demo({"offload": "model"})
    model = _checked_demo({}).cells[0].model
    with pytest.raises(DarkroomError, match=r"^model.offload=sequential: compiled code .* leave out model.offload or"):
        check_executed(
            replace(model, execution={"offload": "sequential"}),
            EngineOptions(compile=True),
            Sampling("default", 5.0, 2, 64, 64),
            "cpu",
        )


def test_tiling_is_refused_where_all_images_are_decoded_whole() -> None:
    with pytest.raises(DarkroomError, match=r"^model.vae_tiling=true: .*tiles of 64 pixels, and images of 64x64 are"):
        _checked_demo({"vae_tiling": True})
    [large] = _checked_demo({"vae_tiling": True}, height=128).cells
    assert large.cell.lossy == {"vae_tiling": True}
    _checked_demo({"vae_tiling": True}, [{"prompt": "a", "height": 128}])


def test_how_a_model_is_held_leaves_cells_as_they_are() -> None:
    plain, sliced = _checked_demo({}), _checked_demo({"vae_slicing": True})
    assert plain.cells[0].cell == sliced.cells[0].cell
    assert sliced.cells[0].model.execution == {"vae_slicing": True}


def test_the_painter_is_held_in_no_way() -> None:
    for name, value in (
        ("offload", "model"),
        ("vae_slicing", True),
        ("vae_tiling", True),
        ("quantization", QUANTIZATIONS[0]),
    ):
        with pytest.raises(DarkroomError, match=f"model.{name}: the painter has no weights"):
            check(
                Request(prompts_of(["a"]), replace(presets()["paint"], **{name: value}), sampling_defaults() | SIZE),
                "cpu",
            )


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


def test_gpus_that_would_idle_are_warned_of_but_for_a_renderer_of_ones_own() -> None:
    engine = EngineOptions("ray", num_gpus=2)
    for ref, expected in {
        ModelRef("darkroom/paint"): 1,
        ModelRef("", make="tests.rendering.own_renderers:make"): 0,
    }.items():
        found = check(Request(prompts_of(["a"]), ref, sampling_defaults() | SIZE, engine=engine), "cpu")
        assert sum("engine.num_gpus=2: a worker computes on one GPU" in text for text in warnings(found)) == expected


def test_a_preset_in_the_place_of_another_is_that_alone() -> None:
    known = {name: ref for name, ref in presets().items() if not ref.make}
    for ref in known.values():
        assert {name: with_preset(ref, name) for name in known} == known


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("sdxl-lightning", ("euler_trailing", 0.0, 4, 0.0)),
        ("hyper-sdxl", ("ddim_trailing", 0.0, 8, 0.0)),
        ("dmd2-sdxl", ("lcm_trailing", 0.0, 4, 0.0)),
        ("tcd-sdxl", ("tcd", 0.0, 4, 0.3)),
        ("lcm-sdxl", ("lcm", 1.0, 4, 0.0)),
    ],
)
def test_a_preset_of_a_few_step_lora_has_what_its_card_says(hub: Path, name: str, own: tuple, tmp_path: Path) -> None:
    [lora] = presets()[name].loras
    owner, repo, *file = lora.path.split("/")
    made = tiny_lora(hub.parent / "sdxl", tmp_path / "lora")
    if file:
        made.rename(made.with_name(file[0]))
    hub_copy(tmp_path / "lora", f"{owner}/{repo}", hub)
    cells = {"lora": ["", "none"], "scheduler": [None]}
    found = [item.cell.sampling for item in checked(["a"], Grid(cells), name).cells]
    [acting, alone] = [(each.scheduler, each.guidance_scale, each.num_inference_steps, each.eta) for each in found]
    assert (acting, alone) == (own, ("default", 5.0, 50, 0.0))


@pytest.mark.parametrize("repo_id", ["someone/sdxl", "stabilityai/sdxl-turbo"])
def test_what_a_few_step_model_is_not_made_for_is_warned_of(hub: Path, repo_id: str) -> None:
    hub_copy(hub.parent / "sdxl", repo_id, hub)
    asked = sampling_defaults() | SIZE | {"num_inference_steps": 20, "guidance_scale": 5}
    found = check(Request(prompts_of(["a"]), ModelRef(repo_id), asked), "cpu")
    said = [text for text in warnings(found) if text.startswith("sampling.")]
    assert len(said) == (2 if "turbo" in repo_id else 0)


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a hub that cannot be reached, with a tiny SDXL in the place of the real one."""
    folder = tmp_path_factory.mktemp("hub")
    hub_copy(tiny_sdxl(folder / "sdxl"), presets()["sdxl"].repo_id, folder / "hub", "fp16")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder / "hub"


def test_a_preset_has_its_usual_settings_but_what_was_said() -> None:
    known = presets()
    assert with_preset(known["demo"], "sd15") == known["sd15"]
    assert with_preset(ModelRef("a/b"), "demo") == known["demo"]
    assert with_preset(ModelRef("a/b", dtype="float16"), "sd15") == ModelRef(
        known["sd15"].repo_id, dtype="float16", variant="fp16"
    )


def test_a_card_says_eta_of_its_own_scheduler_alone(hub: Path, tmp_path: Path) -> None:
    tiny_lora(hub.parent / "sdxl", tmp_path / "lora")
    hub_copy(tmp_path / "lora", "h1t/TCD-SDXL-LoRA", hub)
    found = checked(["a"], Grid({"scheduler": [None, "euler", "ddim"], "eta": [None]}), "tcd-sdxl").cells
    assert [(item.cell.sampling.scheduler, item.cell.sampling.eta) for item in found] == [
        ("tcd", 0.3),
        ("euler", 0.0),
        ("ddim", 0.3),
    ]


def test_rows_that_choose_a_lora_with_a_card_are_told_what_it_is_made_for(hub: Path, tmp_path: Path) -> None:
    tiny_lora(hub.parent / "sdxl", tmp_path / "lora")
    hub_copy(tmp_path / "lora", "latent-consistency/lcm-lora-sdxl", hub)
    asked = {"lora": ["none"], "prompt_syntax": ["a1111"]}
    rows = [{"prompt": "a <lora:lcm:1>"}, {"prompt": "a cat", "lora": "none"}]
    [said] = warnings(checked(rows, Grid(asked), "lcm-sdxl"))
    assert said.startswith(
        "rows that choose lcm are made with num_inference_steps=50, guidance_scale=5.0, scheduler=default, and it is "
        "made for num_inference_steps=4, guidance_scale=1.0, scheduler=lcm; columns of num_inference_steps, "
        "guidance_scale, scheduler say it for rows; a cell of its own, by grid.axes.lora"
    )
    rows = [{"prompt": "a cat", "lora": "none"}]
    assert list(warnings(checked(rows, Grid({"lora": ["none"]}), "lcm-sdxl"))) == []
