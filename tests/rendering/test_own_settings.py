"""What null stands for: cards of LoRAs and models, models' files, signatures; and what a few-step model is not for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest

from darkroom.domain.adapters import LoraRef, active_loras
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import SETTINGS, ModelRef, Sampling
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.own_settings import CARDS, idle_settings, own_setting, unfit_settings
from darkroom.rendering.schedulers import SCHEDULERS, build_scheduler, check_steps
from tests.rendering.helpers import Models, pixels
from tests.rendering.tiny_families import flux2_klein, sana_sprint
from tests.rendering.tiny_loras import tiny_lora
from tests.rendering.tiny_models import hub_copy, tiny_flux, tiny_lcm, tiny_sd, with_scheduler

NAMES = ("num_inference_steps", "guidance_scale", "scheduler")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a hub that cannot be reached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def found(model: InspectedModel, lora: str = "", lora_weight: float = 1.0) -> list[Any]:
    active = active_loras(model.identity.loras, lora, lora_weight)
    return [own_setting(name, model, active) for name in NAMES]


def inspected(folder: Path | str, *loras: str) -> InspectedModel:
    return inspect_model(ModelRef(str(folder), loras=tuple(LoraRef(path) for path in loras)), "cpu")


def test_a_card_says_what_can_be_set() -> None:
    for name, card in CARDS.items():
        assert name.startswith("darkroom/") or name.count("/") in (1, 2), name
        assert card.scheduler in (None, *SCHEDULERS), name
        for setting in ("num_inference_steps", "guidance_scale"):
            value, allowed = getattr(card, setting), SETTINGS[setting].allowed
            assert allowed is not None
            assert value in allowed, name
        assert card.made_for is None or card.num_inference_steps in card.made_for, name
        assert card.most_guidance is None or (card.guidance_scale or 0) <= card.most_guidance, name


def test_a_model_of_the_hub_has_what_its_card_says(models: Models, hub: Path) -> None:
    hub_copy(models["sdxl"], "stabilityai/sdxl-turbo", hub)
    assert found(inspected("stabilityai/sdxl-turbo")) == [1, 0.0, "default"]
    assert found(inspected(models["sdxl"])) == [50, 5.0, "default"]


def test_a_folder_that_is_called_like_a_model_is_another_one(models: Models, hub: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stabilityai" / "sdxl-turbo"
    folder.parent.mkdir()
    folder.symlink_to(models["sdxl"])
    assert found(inspected(folder)) == [50, 5.0, "default"]


@pytest.mark.parametrize("ending", ["", "/pytorch_lora_weights.safetensors"])
def test_a_lora_that_acts_goes_before_the_model(models: Models, hub: Path, tmp_path: Path, ending: str) -> None:
    hub_copy(models["sdxl"], "stabilityai/sdxl-turbo", hub)
    tiny_lora(models["sdxl"], tmp_path / "lora")
    hub_copy(tmp_path / "lora", "latent-consistency/lcm-lora-sdxl", hub)
    model = inspected("stabilityai/sdxl-turbo", f"latent-consistency/lcm-lora-sdxl{ending}")
    assert found(model) == [4, 1.0, "lcm"]
    assert found(model, lora="none") == found(model, lora_weight=0) == [1, 0.0, "default"]
    assert found(inspected(models["sdxl"], str(tmp_path / "lora"))) == [50, 5.0, "default"]


def test_two_loras_whose_cards_disagree_are_asked_about(models: Models, hub: Path, tmp_path: Path) -> None:
    names = ("latent-consistency/lcm-lora-sdxl", "h1t/TCD-SDXL-LoRA")
    for seed, name in enumerate(names):
        tiny_lora(models["sdxl"], tmp_path / str(seed), seed + 1)
        hub_copy(tmp_path / str(seed), name, hub)
    model = inspected(models["sdxl"], *names)
    active = active_loras(model.identity.loras, "", 1.0)
    assert own_setting("num_inference_steps", model, active) == 4
    with pytest.raises(DarkroomError, match=r"scheduler is lcm by lcm-lora-sdxl, tcd by TCD-SDXL-LoRA; give sampling"):
        own_setting("scheduler", model, active)
    assert found(model, lora="TCD-SDXL-LoRA") == [4, 0.0, "tcd"]


def test_a_folder_has_what_its_own_files_say(models: Models, tmp_path: Path) -> None:
    assert found(inspected(tiny_lcm(tmp_path / "lcm"))) == [4, 8.0, "default"]
    assert found(inspected(with_scheduler(tiny_sd(tmp_path / "fused"), "LCMScheduler"))) == [4, 1.0, "default"]
    assert found(inspected(with_scheduler(tiny_sd(tmp_path / "tcd"), "TCDScheduler"))) == [4, 0.0, "default"]
    assert found(inspected(tiny_sd(tmp_path / "guided", time_cond_proj_dim=16))) == [50, 7.5, "default"]
    assert found(inspected(tiny_flux(tmp_path / "flux"))) == [28, 0.0, "default"]
    for make, name, own in ((sana_sprint, "sprint", [2, 4.5]), (flux2_klein, "klein", [50, 4.0])):
        make().save_pretrained(tmp_path / name)
        assert found(inspected(tmp_path / name))[:2] == own
    flux2_klein(is_distilled=True).save_pretrained(tmp_path / "distilled")
    assert found(inspected(tmp_path / "distilled"))[:2] == [4, 0.0]


# What it is not made for ---------------------------------------------------------------------------------------------


def unfit(model: InspectedModel, steps: int, scale: float, lora: str = "") -> list[str]:
    sampling = Sampling("default", scale, steps, 16, 16)
    return list(unfit_settings(sampling, model, active_loras(model.identity.loras, lora, 1.0)))


def test_what_is_not_advised_is_told(models: Models, hub: Path, tmp_path: Path) -> None:
    hub_copy(models["sdxl"], "stabilityai/sdxl-turbo", hub)
    tiny_lora(models["sdxl"], tmp_path / "lora" / "a")
    file = tmp_path / "lora" / "sdxl_lightning_4step_lora.safetensors"
    (tmp_path / "lora" / "a" / "pytorch_lora_weights.safetensors").rename(file)
    hub_copy(tmp_path / "lora", "ByteDance/SDXL-Lightning", hub)
    turbo = inspected("stabilityai/sdxl-turbo", f"ByteDance/SDXL-Lightning/{file.name}")
    assert unfit(turbo, 4, 1.0) == unfit(turbo, 2, 0.0, "none") == []
    assert unfit(turbo, 5, 1.0, "none") == [
        "sampling.num_inference_steps=5: stabilityai/sdxl-turbo is made for 1 to 4 steps"
    ]
    steps, scale = unfit(turbo, 8, 5.0)
    assert steps == "sampling.num_inference_steps=8: sdxl_lightning_4step_lora is made for 4 steps"
    assert scale.startswith("sampling.guidance_scale=5: sdxl_lightning_4step_lora is distilled, to be used with 0;")
    assert unfit(inspected(models["sdxl"]), 1000, 50.0) == []


def test_what_steers_guidance_where_there_is_none_is_told(models: Models) -> None:
    model, plain = inspected(models["sd"]), Sampling("default", 1.0, 4, 16, 16)
    given = replace(plain, negative_prompt="blur", guidance_stop=0.5)
    first, second = idle_settings(given, model, ())
    assert first.startswith("sampling.negative_prompt does nothing at sampling.guidance_scale=1: nothing guides ")
    assert second.startswith("sampling.guidance_stop does nothing")
    [column] = idle_settings(plain, model, ["negative_prompt", "seed"])
    assert column.startswith("column negative_prompt does nothing")
    for guided, rows in ((replace(given, guidance_scale=2.0), ()), (given, ["guidance_scale"]), (plain, ())):
        assert list(idle_settings(guided, model, rows)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SCHEDULERS, "default"])
def test_no_more_steps_are_let_through_than_a_scheduler_takes(models: Models, tmp_path: Path, name: str) -> None:
    """`default` is the LCM's own."""
    entry = SCHEDULERS.get(name)
    if entry and (entry.needs or entry.family == "flow"):
        pytest.skip("another model, or a package that is not installed")
    model = inspected(tiny_lcm(tmp_path / "lcm"))
    own = diffusers.LCMScheduler.from_pretrained(tmp_path / "lcm" / "scheduler")
    for steps in (50, 51, 1000, 1001):
        if takes(own, name, steps):
            check_steps(name, steps, model, "sampling.num_inference_steps")
        else:
            with pytest.raises(DarkroomError, match=r"takes \d+ steps of lcm at most; give \d+ or less"):
                check_steps(name, steps, model, "sampling.num_inference_steps")


def takes(own: Any, name: str, steps: int) -> bool:
    try:
        build_scheduler(name, own).set_timesteps(steps)
    except ValueError:
        return False
    return True


def test_steps_of_trailing_schedulers_end_where_training_does(models: Models) -> None:
    own = diffusers.EulerDiscreteScheduler.from_pretrained(models["sdxl"] / "scheduler")
    lcm = build_scheduler("lcm_trailing", own)
    lcm.set_timesteps(4)
    assert lcm.timesteps.tolist() == [999, 749, 499, 249]  # of DMD2's card
    for name in SCHEDULERS:
        if name.endswith("_trailing"):
            built = build_scheduler(name, own)
            built.set_timesteps(4)
            assert int(built.timesteps[0]) == 999, name


@pytest.mark.slow
def test_few_step_models_render_with_what_they_say(models: Models, tmp_path: Path) -> None:
    from darkroom.rendering.renderer import RendererSpec, load_renderer

    tcd = with_scheduler(tiny_sd(tmp_path / "tcd"), "TCDScheduler")
    for folder in (tiny_lcm(tmp_path / "lcm"), tcd):
        model = inspected(folder)
        steps, scale, scheduler = found(model)
        renderer = load_renderer(RendererSpec(model, "cpu", 4))
        made = pixels(renderer, Sampling(scheduler, scale, steps, 16, 16))
        assert len({each.tobytes() for each in made}) == 3
