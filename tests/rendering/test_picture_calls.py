"""Images that are made from pictures, by tiny models of real classes: each stands alone, and masks keep pixels."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from darkroom.domain.records import ImageRequest, Picture
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering.families import FAMILIES
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.renderer import Renderer, RendererSpec, load_renderer
from darkroom.rendering.self_test import self_test
from tests.rendering.every_family import MODELS, SIDES
from tests.rendering.helpers import Models, load_with_pipe, spec_of
from tests.rendering.tiny_models import tiny_sd3

SIDE = 32
SAMPLING = Sampling("default", 4.0, 4, SIDE, SIDE, image="a.png", strength=0.6)


def request(place: int, sampling: Sampling = SAMPLING, is_masked: bool = False) -> ImageRequest:
    drawn = np.random.default_rng(place)
    image = Picture("image", "0", drawn.integers(0, 256, (sampling.height, sampling.width, 3), dtype=np.uint8))
    mask = np.zeros((sampling.height, sampling.width), np.uint8)
    mask[: sampling.height // 2, place + 1 :] = 255
    pictures = (image, Picture("mask_image", "0", mask)) if is_masked else (image,)
    sampling = replace(sampling, image=f"{place}.png", mask_image=f"{place}m.png" if is_masked else "")
    return ImageRequest(
        f"{place}", ("a red circle", "two", "a large blue square")[place % 3], place, sampling, pictures=pictures
    )


def made(renderer: Renderer, requests: list[ImageRequest]) -> list[np.ndarray]:
    found = [image.pixels for image in renderer.render(requests)]
    assert all(each is not None for each in found), [image.error for image in renderer.render(requests)]
    return [each for each in found if each is not None]


def check(renderer: Renderer, sampling: Sampling, is_masked: bool) -> None:
    """Equal bits alone, beside others and as a part of a longer batch; and it is a function of what it says it is."""
    rows = [request(place, sampling, is_masked) for place in range(3)]
    together = made(renderer, rows)
    assert all(np.array_equal(made(renderer, [row])[0], found) for row, found in zip(rows, together, strict=True))
    others = [rows[0], *(replace(request(place, sampling, is_masked), prompt="x") for place in (7, 8))]
    assert np.array_equal(made(renderer, others)[0], together[0])
    seeded = made(renderer, [replace(rows[0], seed=99)])[0]
    assert not np.array_equal(seeded, together[0])
    if is_masked:
        for row, found in zip(rows, together, strict=True):
            kept = row.picture("mask_image") == 0
            assert np.array_equal(found[kept], row.picture("image")[kept])
            assert not np.array_equal(found, row.picture("image"))
    else:
        moved = replace(rows[0], pictures=rows[1].pictures)
        assert not np.array_equal(made(renderer, [moved])[0], together[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_images_from_pictures_stand_alone(models: Models, name: str) -> None:
    renderer, pipe = load_with_pipe(models, name)
    check(renderer, SAMPLING, is_masked=False)
    check(renderer, SAMPLING, is_masked=True)
    for task in renderer._from_pictures._made.values():  # type: ignore[attr-defined]
        assert task.unet is pipe.unet
        assert task.vae is pipe.vae


@pytest.mark.slow
def test_promises_hold_of_images_from_pictures(models: Models) -> None:
    spec = spec_of(models, "sd")
    sampling = replace(SAMPLING, mask_image="m.png", strength=1.0)
    found = {check.promise: check for check in self_test(load_renderer(spec), spec.model, sampling)}
    assert not [check for check in found.values() if check.error]
    assert [found[name].difference for name in ("place", "neighbours", "padding", "mixing")] == [0] * 4
    assert all(found[name].difference for name in ("prompt", "seed", "guidance_scale"))
    assert found["diffusers"].difference is None


def test_rows_with_and_without_pictures_are_of_other_batches() -> None:
    keys = [request(0).batch_key(True), request(1).batch_key(True), request(2, is_masked=True).batch_key(True)]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]
    assert replace(request(0), pictures=(), sampling=replace(SAMPLING, image="")).batch_key(True) not in keys


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["sd3", "flux_dev", "qwen", "z_image", "chroma", "lcm", "sd15_pag", "kandinsky3", "if"]
)
def test_other_classes_make_images_from_pictures_that_stand_alone(tmp_path: Path, name: str) -> None:
    make = partial(tiny_sd3, channels=16) if name == "sd3" else MODELS[name]  # which its inpainting takes alone
    model = inspect_model(ModelRef(str(make(tmp_path / name))), "cpu")
    renderer = load_renderer(RendererSpec(model, "cpu", 3))
    side = SIDES.get(name, SIDE)
    for is_masked in (False, True) if model.family.inpaint else (False,):
        check(renderer, replace(SAMPLING, height=side, width=side), is_masked)


def test_every_class_for_pictures_is_there() -> None:
    import diffusers

    named = {name for family in FAMILIES.values() for name in (family.img2img, family.inpaint) if name}
    assert all(hasattr(diffusers, name) for name in named)
