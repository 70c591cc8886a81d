"""A refiner: rows stand alone, pixels are those of diffusers' two calls, and what does not go with it is refused."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from darkroom.api.cells import checked_cell
from darkroom.api.models import find_model
from darkroom.domain.adapters import REFINER, LoraRef
from darkroom.domain.certificates import Outcome
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering.inspected_model import InspectedModel, shared_models
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.memory import Held, model_memory
from darkroom.rendering.pretrained import load_pipeline
from darkroom.rendering.renderer import Renderer, RendererSpec, load_renderer
from tests.rendering.helpers import Models, largest_difference
from tests.rendering.test_self_test import checked, outcomes
from tests.rendering.tiny_loras import tiny_lora
from tests.rendering.tiny_models import tiny_flux, tiny_refiner

SAMPLING = Sampling("default", 4.0, 4, 32, 32, refiner_start=0.5)


@pytest.fixture(scope="module")
def refiner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_refiner(tmp_path_factory.mktemp("models") / "refiner")


def inspected(models: Models, refiner: Path | None, **more: object) -> InspectedModel:
    path = None if refiner is None else str(refiner)
    return inspect_model(ModelRef(str(models["sdxl"]), refiner=path, **more), "cpu")  # type: ignore[arg-type]


def requests(**changes: object) -> list[ImageRequest]:
    """Of mixed guidance and negative prompts."""
    given = (("a red circle", 4.0, ""), ("a large blue square", 6.0, "dark"), ("two circles", 2.0, ""), ("", 4.0, ""))
    return [
        ImageRequest(
            str(place),
            prompt,
            100 + place,
            replace(SAMPLING, guidance_scale=scale, negative_prompt=negative, **changes),  # type: ignore[arg-type]
        )
        for place, (prompt, scale, negative) in enumerate(given)
    ]


def pixels(renderer: Renderer, wanted: Sequence[ImageRequest]) -> list[np.ndarray]:
    found = renderer.render(wanted)
    assert [image.error for image in found] == [None] * len(wanted)
    return [image.pixels for image in found if image.pixels is not None]


@pytest.mark.slow
def test_rows_stand_alone_and_the_refiner_makes_another_image(models: Models, refiner: Path) -> None:
    renderer = load_renderer(RendererSpec(inspected(models, refiner), "cpu", 4))
    together = pixels(renderer, requests())
    assert largest_difference(together, pixels(renderer, requests()[::-1])[::-1]) == 0
    assert largest_difference(together, [pixels(renderer, [each])[0] for each in requests()]) == 0
    plain = load_renderer(RendererSpec(inspected(models, None), "cpu", 4))
    without = pixels(plain, requests(refiner_start=None))
    assert all((one != other).any() for one, other in zip(together, without, strict=True))
    assert largest_difference(pixels(renderer, requests(refiner_start=1.0)), without) == 0


@pytest.mark.slow
def test_every_promise_holds_and_diffusers_two_calls_make_the_same_image(models: Models, refiner: Path) -> None:
    model = inspected(models, refiner)
    found = outcomes(checked(model, sampling=SAMPLING))
    assert found["diffusers"] is Outcome.EXACT
    assert found["refiner_start"] is Outcome.ACTS
    assert Outcome.FAILS not in found.values()
    assert outcomes(checked(inspected(models, None)))["refiner_start"] is Outcome.UNTAKEN


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["euler", "heun", "ddim"])
def test_a_trajectory_goes_through_both_models(models: Models, refiner: Path, scheduler: str) -> None:
    renderer = load_renderer(RendererSpec(inspected(models, refiner), "cpu", 1))
    [plain] = requests(scheduler=scheduler, num_inference_steps=6)[:1]
    [image] = renderer.render([replace(plain, trajectory=(1, 2, 3, 4, 5, 6))])
    assert image.trajectory
    assert image.pixels is not None
    assert np.array_equal(pixels(renderer, [plain])[0], image.pixels)
    assert [step.step for step in image.trajectory.steps] == [1, 2, 3, 4, 5, 6, None]
    sigmas = [step.sigma for step in image.trajectory.steps]
    assert sigmas == sorted(set(sigmas), reverse=True)
    height, width = image.pixels.shape[:2]
    last = image.trajectory.pixels[height:, -2 * width : -width]
    assert np.abs(last.astype(int) - image.pixels).max() <= (4 if scheduler == "ddim" else 1)


@pytest.mark.slow
def test_equal_text_encoders_are_held_once(models: Models, refiner: Path, tmp_path: Path) -> None:
    same = Path(shutil.copytree(refiner, tmp_path / "same"))
    shutil.rmtree(same / "text_encoder_2")
    shutil.copytree(models["sdxl"] / "text_encoder_2", same / "text_encoder_2")
    lora = LoraRef(str(tiny_lora(models["sdxl"], tmp_path / "lora")))
    held = Held("float32", 1)
    for folder, loras, is_shared in ((refiner, (), False), (same, (), True), (same, (lora,), False)):
        [model] = shared_models([inspected(models, folder, loras=loras)])
        loaded = load_pipeline(RendererSpec(model, "cpu", 2), ())
        assert loaded.refiner.vae is loaded.pipe.vae
        assert (loaded.refiner.text_encoder_2 is loaded.pipe.text_encoder_2) == is_shared
        memory = model_memory(model, None)
        assert memory
        assert ("text_encoder_2 of the refiner" in memory.weights(held)) != is_shared
        assert memory.weights(held)["unet of the refiner"] == sum(
            each.numel() * 4 for each in loaded.refiner.unet.parameters()
        )


def test_it_is_of_the_models_identity_and_its_own_vae_is_not(models: Models, refiner: Path, tmp_path: Path) -> None:
    model = inspected(models, refiner)
    assert model.identity.refiner
    assert (model.identity.refiner.kind, model.identity.refiner.name) == (REFINER, "refiner")
    other = Path(shutil.copytree(refiner, tmp_path / "other"))
    shutil.rmtree(other / "vae")
    found = inspected(models, other).identity.refiner
    assert found
    assert found.revision == model.identity.refiner.revision
    (other / "unet" / "config.json").write_text((refiner / "unet" / "config.json").read_text() + " ")
    changed = inspected(models, other).identity.refiner
    assert changed
    assert changed.revision != found.revision


def test_where_nothing_is_said_the_last_fifth_is_refined(models: Models, refiner: Path) -> None:
    asked = {**vars(Sampling("default", 4.0, 20, 32, 32)), "seed": 0, "num_images_per_prompt": 1}
    ref = ModelRef(str(models["sdxl"]))
    with_refiner = checked_cell(replace(ref, refiner=str(refiner)), asked, asked, "cpu", find_model)
    assert with_refiner.cell.sampling.refiner_start == 0.8
    assert checked_cell(ref, asked, asked, "cpu", find_model).cell.sampling.refiner_start is None
    for given, said in (
        ({"refiner_start": 0.5}, r"sampling\.refiner_start=0\.5: model has no refiner; leave it out, or give"),
    ):
        with pytest.raises(DarkroomError, match=said):
            checked_cell(ref, {**asked, **given}, asked, "cpu", find_model)
    for given, said in (
        ({"num_inference_steps": 1}, "leaves no step of 1 to the model before it"),
        ({"refiner_start": 0.99, "scheduler": "euler_trailing"}, "leaves no step of 20 to the refiner"),
        ({"guidance_stop": 0.5}, "are shares of one model's steps"),
    ):
        with pytest.raises(DarkroomError, match=said):
            checked_cell(replace(ref, refiner=str(refiner)), {**asked, **given}, asked, "cpu", find_model)


def test_what_does_not_go_together_is_refused(models: Models, refiner: Path, tmp_path: Path) -> None:
    flux = tiny_flux(tmp_path / "flux")
    for ref, said in (
        (
            ModelRef(str(flux), refiner=str(refiner)),
            "is a FluxPipeline, and a refiner goes on from a StableDiffusionXL",
        ),
        (ModelRef(str(models["sdxl"]), refiner=str(flux)), "is a FluxPipeline; give a StableDiffusionXLImg2Img"),
        (ModelRef(str(models["sdxl"]), refiner=str(tmp_path)), "no model_index.json there"),
        (ModelRef(str(models["sdxl"]), refiner="/no/such"), "no model_index.json there"),
        (
            ModelRef(str(models["sdxl"]), refiner=str(refiner), offload="sequential"),
            "model.offload=sequential is of one",
        ),
    ):
        with pytest.raises(DarkroomError, match=f"model.refiner=.*{said}") as caught:
            inspect_model(ref, "cpu")
        assert "\n" not in str(caught.value)
