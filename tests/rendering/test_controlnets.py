"""Images that a ControlNet shapes, by tiny models of real classes: as diffusers makes them, and each alone."""

import inspect
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import ImageRequest, Picture
from darkroom.domain.settings import OF_CONTROL, ModelRef, Sampling
from darkroom.rendering.families import FAMILIES
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.renderer import Renderer, RendererSpec, load_renderer
from darkroom.rendering.self_test import self_test
from tests.rendering.helpers import Models, largest_difference
from tests.rendering.test_picture_calls import made
from tests.rendering.tiny_models import tiny_controlnet

SIDE = 16
SAMPLING = Sampling("default", 4.0, 4, SIDE, SIDE, control_image="c.png")
TASKS = (("control_image",), ("image", "control_image"), ("image", "mask_image", "control_image"))
CLOSE = 2  # of 255, of other batch shapes and of latents that are decoded beside others


@pytest.fixture(scope="module")
def controlnets(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("controlnets")
    return {name: tiny_controlnet(folder / name, models[name]) for name in ("sd", "sdxl")}


@pytest.fixture(scope="module", params=["sd", "sdxl"])
def loaded(request: pytest.FixtureRequest, models: Models, controlnets: Models) -> tuple[RendererSpec, Any]:
    ref = ModelRef(str(models[request.param]), controlnet=str(controlnets[request.param]))
    spec = RendererSpec(inspect_model(ref, "cpu"), "cpu", 3)
    return spec, load_renderer(spec)


def request(place: int, names: tuple[str, ...] = TASKS[0], **settings: Any) -> ImageRequest:
    drawn = np.random.default_rng(place)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, place + 1 :] = 255
    pixels = {name: drawn.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for name in ("image", "control_image")}
    sampling = replace(SAMPLING, **{name: f"{name} {place}.png" for name in names}, **settings)
    pictures = tuple(Picture(name, "0", {**pixels, "mask_image": mask}[name]) for name in names)
    return ImageRequest(f"{place}", ("a red circle", "two", "")[place % 3], place, sampling, pictures=pictures)


@pytest.mark.slow
@pytest.mark.parametrize("names", TASKS, ids=["from noise", "from a picture", "in a mask"])
def test_images_stand_alone_and_what_shapes_them_acts(loaded: tuple[RendererSpec, Renderer], names) -> None:
    renderer = loaded[1]
    strengths = {"strength": 0.6} if "image" in names else {}
    rows = [request(place, names, **strengths) for place in range(3)]
    together = made(renderer, rows)
    for row, found in zip(rows, together, strict=True):
        assert np.array_equal(made(renderer, [row])[0], found)
    assert all(np.array_equal(*each) for each in zip(made(renderer, rows[::-1]), together[::-1], strict=True))
    others = [rows[0], request(7, names, **strengths), request(8, names, **strengths)]
    assert np.array_equal(made(renderer, others)[0], together[0])

    control = [each for each in rows[1].pictures if each.name == "control_image"]
    moved = replace(rows[0], pictures=(*rows[0].pictures[:-1], *control))
    changed = [moved, *(replace(rows[0], sampling=replace(rows[0].sampling, **{name: value}))
                        for name, value in zip(OF_CONTROL, (0.1, 0.7, 0.3), strict=True))]  # fmt: skip
    assert not any(np.array_equal(made(renderer, [each])[0], together[0]) for each in changed)


@pytest.mark.slow
def test_images_are_those_of_diffusers_own_calls(loaded: tuple[RendererSpec, Any]) -> None:
    """Of one image, loaded and called as its documentation has it."""
    spec, renderer = loaded
    [part] = spec.model.parts
    controlnet = diffusers.ControlNetModel.from_pretrained(part.path)
    plain = diffusers.DiffusionPipeline.from_pretrained(spec.model.source)
    for names, kind in zip(TASKS, spec.model.family.controlnets or (), strict=True):
        pipe = getattr(diffusers, kind).from_pipe(plain, controlnet=controlnet)
        pipe.set_progress_bar_config(disable=True)
        row = request(1, names, controlnet_conditioning_scale=0.7)
        pictures = {each.name: Image.fromarray(each.pixels) for each in row.pictures}
        if names == TASKS[0]:
            pictures = {"image": pictures["control_image"]}
        generator = torch.Generator().manual_seed(row.seed)
        found = pipe(
            row.prompt, **pictures, num_inference_steps=4, guidance_scale=4.0, generator=generator,
            controlnet_conditioning_scale=0.7, height=SIDE, width=SIDE, output_type="np",
        ).images[0]  # fmt: skip
        theirs = (np.clip(found, 0, 1) * 255).round().astype(np.uint8)
        if "mask_image" in names:
            theirs = np.where(row.picture("mask_image")[..., None] > 0, theirs, row.picture("image"))
        ours = made(renderer, [row, request(2, names, controlnet_conditioning_scale=0.7)])[0]
        assert largest_difference([ours], [theirs]) <= CLOSE, kind


@pytest.mark.slow
def test_without_a_control_picture_or_at_no_strength_it_is_the_model_alone(
    loaded: tuple[RendererSpec, Renderer], models: Models
) -> None:
    alone = load_renderer(RendererSpec(inspect_model(ModelRef(loaded[0].model.source), "cpu"), "cpu", 3))
    row = request(0)
    plain = replace(row, pictures=(), sampling=replace(SAMPLING, control_image=""))
    [expected] = made(alone, [plain])
    assert np.array_equal(made(loaded[1], [plain])[0], expected)
    unshaped = request(0, controlnet_conditioning_scale=0.0)
    assert largest_difference(made(loaded[1], [unshaped]), [expected]) == 0
    assert largest_difference(made(loaded[1], [row]), [expected]) > CLOSE
    assert plain.batch_key(True) != row.batch_key(True) == request(1).batch_key(True)


@pytest.mark.slow
def test_promises_hold_of_a_controlnet(loaded: tuple[RendererSpec, Renderer]) -> None:
    found = {check.promise: check for check in self_test(loaded[1], loaded[0].model, SAMPLING)}
    assert not [check for check in found.values() if check.error]
    assert [found[name].difference for name in ("place", "neighbours", "padding", "mixing", "size")] == [0] * 5
    assert all(found[name].difference for name in ("prompt", "seed", "guidance_scale", "control_image"))


def test_it_is_part_of_the_model(models: Models, controlnets: Models, tmp_path: Path) -> None:
    found = inspect_model(ModelRef(str(models["sd"]), controlnet=str(controlnets["sd"])), "cpu").identity
    assert found.controlnet
    assert (found.controlnet.kind, found.controlnet.name) == ("controlnet", "sd")
    moved = tmp_path / "sd"
    moved.symlink_to(controlnets["sd"])
    again = inspect_model(ModelRef(str(models["sd"]), controlnet=str(moved)), "cpu").identity
    assert again == found != inspect_model(ModelRef(str(models["sd"])), "cpu").identity


def test_one_of_the_hub_is_found_in_its_cache(
    models: Models, controlnets: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "hub" / "models--someone--edges" / "snapshots" / ("0" * 40)
    shutil.copytree(controlnets["sd"], snapshot)
    (snapshot / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"another variant")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    [found] = inspect_model(ModelRef(str(models["sd"]), controlnet="someone/edges"), "cpu").parts
    [here] = inspect_model(ModelRef(str(models["sd"]), controlnet=str(controlnets["sd"])), "cpu").parts
    assert (found.part.name, found.part.revision) == ("edges", here.part.revision)


@pytest.mark.parametrize(
    ("model", "change", "words"),
    [
        ("sdxl", {}, "is for another model: its cross_attention_dim is 32, and that of .* is 64; give one"),
        ("sd3", {}, "is a StableDiffusion3Pipeline, and takes none; use a model of one of StableDiffusionPipeline, "),
        ("sd", {"_class_name": "ControlNetUnionModel"}, "is a ControlNetUnionModel; give a ControlNetModel"),
        (
            "sd",
            {"conditioning_embedding_out_channels": [8, 8, 8]},
            "its number of pixels a latent pixel is 4, and that",
        ),
        ("sd", None, "no config.json there; give the folder of a ControlNet, or of a model that has one, or a hub id"),
    ],
)
def test_one_that_does_not_fit_is_refused(
    models: Models, controlnets: Models, tmp_path: Path, model: str, change: dict[str, str] | None, words: str
) -> None:
    for file in controlnets["sd"].iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = tmp_path / "config.json"
    about = json.loads(config.read_bytes())
    config.unlink()
    if change is not None:
        config.write_text(json.dumps(about | change))
    with pytest.raises(DarkroomError, match=f"model.controlnet.*{words}"):
        inspect_model(ModelRef(str(models[model]), controlnet=str(tmp_path)), "cpu")


def test_every_class_is_there_and_takes_what_shapes_images() -> None:
    kinds = [kind for family in FAMILIES.values() for kind in family.controlnets or ()]
    assert len(kinds) == 6
    for kind in kinds:
        assert set(OF_CONTROL) <= set(inspect.signature(getattr(diffusers, kind).__call__).parameters)
