"""The self-test: what it says of models that keep every promise, and whether it finds faults that models had."""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from darkroom.domain.adapters import LoraRef
from darkroom.domain.certificates import PROMISES, Certificate, Check, Outcome
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering.adapters import RowWeights
from darkroom.rendering.family import Guidance, Text
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.renderer import RendererSpec, load_renderer
from darkroom.rendering.self_test import self_test
from tests.rendering.helpers import Models
from tests.rendering.tiny_families import pag, tiny
from tests.rendering.tiny_models import tiny_flux, tiny_sd, tiny_sdxl


def checked(
    model: InspectedModel, side: int = 32, batch_size: int = 4, sampling: Sampling | None = None, **options: Any
) -> dict[str, Check]:
    guidance = 0.0 if model.family.guidance is Guidance.NONE else 3.0
    renderer = load_renderer(RendererSpec(model, "cpu", batch_size, **options))
    checks = self_test(renderer, model, sampling or Sampling("default", guidance, 1, side, side))
    assert [check.promise for check in checks] == list(PROMISES)
    return {check.promise: check for check in checks}


def outcomes(checks: dict[str, Check]) -> dict[str, Outcome]:
    return {name: check.outcome for name, check in checks.items()}


def inspected(folder: Path) -> InspectedModel:
    return inspect_model(ModelRef(str(folder)), "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_of_these_models_everything_is_exact_and_acts(models: Models, name: str) -> None:
    found = outcomes(checked(inspected(models[name])))
    equal = {name: Outcome.EXACT for name, promise in PROMISES.items() if promise.is_equality}
    equal["compiled"] = Outcome.UNTAKEN
    found_equal = {name: outcome for name, outcome in found.items() if name in equal}
    assert found_equal == equal | {"lora_mixing": Outcome.UNTAKEN}
    acting = {name for name, outcome in found.items() if outcome is Outcome.ACTS}
    assert acting == found.keys() - equal - {"control_image", "refiner_start"}


@pytest.mark.slow
def test_loras_that_share_a_batch_are_looked_at(
    models: Models, loras: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where they do more than they may, batches are not mixed."""
    model = inspect_model(ModelRef(str(models["sd"]), loras=(LoraRef(str(loras["all"])),)), "cpu")
    model = replace(model, identity=model.identity.base)
    assert checked(model)["lora_mixing"].outcome is Outcome.EXACT
    monkeypatch.setattr(RowWeights, "__rmul__", lambda self, added: added * float(self._scales.max()))
    found = checked(model)
    assert {name for name, check in found.items() if check.outcome is Outcome.FAILS} == {"lora_mixing"}
    about = {each.name: "" for each in fields(Certificate) if each.name != "checks"}
    certificate = Certificate(**about, checks=tuple(found.values()))  # type: ignore[arg-type]
    assert (certificate.may_mix, certificate.may_batch) == (False, True)


@pytest.mark.slow
def test_what_a_model_does_not_take_is_not_asked(tmp_path: Path) -> None:
    found = outcomes(checked(inspected(tiny_flux(tmp_path / "model"))))
    assert {name for name, outcome in found.items() if outcome is Outcome.UNTAKEN} == {
        "mixing",
        "lora_mixing",
        "compiled",
        "control_image",
        "guidance_scale",
        "negative_prompt",
        "refiner_start",
    }
    assert Outcome.FAILS not in found.values()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "plain"), [("StableDiffusionPAGPipeline", tiny_sd), ("StableDiffusionXLPAGPipeline", tiny_sdxl)]
)
def test_perturbed_attention_keeps_promises_too(tmp_path: Path, kind: str, plain: Callable[[Path], Path]) -> None:
    model = inspected(pag(kind, plain, tmp_path / "model"))
    found = outcomes(checked(model))
    assert {name for name, outcome in found.items() if outcome is Outcome.UNTAKEN} == {
        "mixing",
        "lora_mixing",
        "compiled",
        "control_image",
        "refiner_start",
    }
    assert Outcome.FAILS not in found.values()
    renderer = load_renderer(RendererSpec(model, "cpu", 2))
    requests = [
        ImageRequest("a", "a red circle", 1, Sampling("default", 5.0, 2, 32, 32, pag_scale=scale))
        for scale in (0.0, 3.0)
    ]
    off, on = (renderer.render([request])[0].pixels for request in requests)
    assert off is not None
    assert on is not None
    assert (off != on).any()


@pytest.mark.slow
def test_compiled_pixels_are_compared_with_uncompiled_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a backend of torch.compile that is not what it compiles, as a fault of a real one would be."""
    is_wrong = False

    def compiled(module: torch.fx.GraphModule, _inputs: object) -> Callable[..., Any]:
        return (lambda *given: tuple(each * 1.5 for each in module(*given))) if is_wrong else module.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=compiled))
    model = inspected(tiny_sd(tmp_path / "model"))
    found = checked(model, batch_size=2, compile=True)
    assert found["compiled"].outcome is Outcome.EXACT
    is_wrong = True
    torch.compiler.reset()
    found = checked(model, batch_size=2, compile=True)
    assert found["compiled"].outcome is Outcome.FAILS
    assert found["diffusers"].outcome in (Outcome.EXACT, Outcome.CLOSE)  # which is of code that is not compiled


@pytest.mark.slow
def test_one_image_a_batch_has_no_neighbours(models: Models) -> None:
    found = outcomes(checked(inspected(models["sd"]), batch_size=1))
    untaken = {name for name, outcome in found.items() if outcome is Outcome.UNTAKEN}
    of_neighbours = {"place", "neighbours", "padding", "mixing", "lora_mixing"}
    assert untaken == of_neighbours | {"compiled", "control_image", "refiner_start"}
    assert Outcome.FAILS not in found.values()


# Faults that renderings of these classes had, each made by taking a fact of the class away.
FAULTS: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "the longest prompt of a batch pads the others": ("cogview4", {"text": Text.FIXED}, {"place", "padding"}),
    "guidance has another name": ("qwen", {"guidance_argument": "guidance_scale"}, {"guidance_scale"}),
    "pixels from -1 on are taken as such from 0 on": ("kandinsky3", {"lowest": 0.0}, {"diffusers"}),
    "a call takes one scale alone": ("z_image", {"mixes_guidance": True}, {"mixing"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(tmp_path: Path, fault: str) -> None:
    name, changes, failing = FAULTS[fault]
    model = inspected(tiny(name, tmp_path / "model"))
    found = outcomes(
        checked(replace(model, family=replace(model.family, **changes)), 64 if name == "kandinsky3" else 32)
    )
    assert {name for name, outcome in found.items() if outcome is Outcome.FAILS} >= failing


@pytest.mark.slow
def test_a_size_that_is_rounded_is_said(tmp_path: Path) -> None:
    found = checked(inspected(tiny("hunyuan_dit", tmp_path / "model")), side=40)
    assert found["size"].text == "fails: 32x32 was made of 40x40"


@pytest.mark.slow
def test_without_mixed_batches_images_are_the_same(models: Models) -> None:
    model = inspected(models["sd"])
    guided = ImageRequest("a", "a red circle", 1, Sampling("default", 7.0, 2, 32, 32, negative_prompt="a blue square"))
    mixed, single = (load_renderer(RendererSpec(model, "cpu", 2, may_mix=may_mix)) for may_mix in (True, False))
    assert (mixed.info.mixes_guidance, single.info.mixes_guidance) == (True, False)
    [one], [other] = mixed.render([guided]), single.render([guided])
    assert one.pixels is not None
    assert other.pixels is not None
    assert (one.pixels == other.pixels).all()
