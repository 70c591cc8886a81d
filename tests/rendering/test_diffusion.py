"""What renderers of diffusers models promise beyond the contract: plain pipelines' pixels, errors, memory."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import Sampling
from darkroom.rendering.renderer import FatalDeviceError
from tests.rendering.helpers import SAMPLING, Models, load, load_with_pipe, pixels, requests
from tests.rendering.test_renderer import check_that_images_stand_alone
from tests.rendering.tiny_models import tiny_sd


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl"])
@pytest.mark.parametrize(
    "other", [{"guidance_stop": 0.5}, {"cache_interval": 2}, {"width": 24}, {"guidance_scale": 1.0}]
)
def test_an_image_stands_alone_with_any_settings(models: Models, name: str, other: dict) -> None:
    check_that_images_stand_alone(load(models, name), requests(4, replace(SAMPLING, num_inference_steps=4, **other)))


@pytest.mark.slow
def test_an_image_stands_alone_where_guidance_is_an_input_of_the_unet(tmp_path: Path) -> None:
    folder = tiny_sd(tmp_path, time_cond_proj_dim=16)
    renderer = load({"distilled": folder}, "distilled")
    assert not renderer.info.mixes_guidance  # so that no batch holds two scales
    low, high = (pixels(renderer, replace(SAMPLING, guidance_scale=scale), 1) for scale in (2.0, 8.0))
    assert not np.array_equal(low, high)
    check_that_images_stand_alone(renderer, requests(4))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_pixels_equal_those_of_a_diffusers_pipeline(models: Models, name: str) -> None:
    """Cached embeddings, noise by image and all patches end where diffusers' code ends."""
    from diffusers import DiffusionPipeline

    wanted = requests(2)
    found = np.stack(pixels(load(models, name, batch_size=2), count=2)).astype(int)
    pipe = DiffusionPipeline.from_pretrained(models[name])
    pipe.set_progress_bar_config(disable=True)
    exact = pipe(
        [request.prompt for request in wanted],
        guidance_scale=4.0,
        num_inference_steps=3,
        height=16,
        width=16,
        generator=[torch.Generator().manual_seed(request.seed) for request in wanted],
        output_type="np",
    ).images
    assert np.abs(found - np.rint(exact * 255)).max() <= 1


@pytest.mark.slow
def test_cells_of_a_sweep_take_turns_without_traces(models: Models) -> None:
    renderer = load(models, "sd")
    other = Sampling("euler_a", 7.0, 5, 16, 16, "blue")
    first, between = pixels(renderer, count=2), pixels(renderer, other, 2)
    assert np.array_equal(pixels(renderer, count=2), first)
    assert np.array_equal(pixels(renderer, other, 2), between)
    assert not np.array_equal(first, between)


@pytest.mark.slow
def test_long_prompts_are_marked(models: Models) -> None:
    long = ImageRequest("0", "word " * 60, 1, SAMPLING)
    assert [image.truncated for image in load(models, "sd").render([long, *requests(1)])] == [True, False]


@pytest.mark.slow
def test_latents_that_overflow_become_an_error_of_their_image_alone(models: Models) -> None:
    renderer, pipe = load_with_pipe(models, "sd")
    decode = pipe.vae.decode
    pipe.vae.decode = lambda latents, **options: decode(
        latents.index_fill(0, torch.tensor([1]), float("nan")), **options
    )
    images = renderer.render(requests(3))
    assert [image.pixels is None for image in images] == [False, True, False]
    assert "NaN" in images[1].error


def failing(pipe: Any, is_due: Callable[[int], bool], error: Exception) -> list[int]:
    """Images of each call of the denoiser's first step from now on; those that are due fail."""
    seen: list[int] = []

    def fail(_unet: Any, inputs: tuple) -> None:
        count = len(inputs[0]) // 2  # guided: two rows an image
        seen.append(count)
        if is_due(count):
            raise error

    pipe.unet.register_forward_pre_hook(fail)
    return seen


@pytest.mark.slow
def test_memory_that_runs_out_halves_the_batch_and_comes_back(models: Models) -> None:
    renderer, pipe = load_with_pipe(models, "sd")
    seen = failing(pipe, lambda count: count > 2 and len(seen) < 10, torch.OutOfMemoryError("CUDA out of memory"))
    one_step = replace(SAMPLING, num_inference_steps=1)
    rendered = [renderer.render(requests(4, one_step)) for _ in range(10)]
    assert {image.error for images in rendered for image in images} == {None}
    assert [image.batch_size for image in rendered[0]] == [2] * 4
    assert [image.batch_size for image in rendered[-1]] == [4] * 4
    assert seen[:3] == [4, 2, 2]
    assert seen[-1] == 4


@pytest.mark.slow
def test_no_memory_even_for_one_image_is_that_images_error(models: Models) -> None:
    renderer, pipe = load_with_pipe(models, "sd")
    seen = failing(pipe, lambda count: True, torch.OutOfMemoryError("CUDA out of memory"))
    assert all("out of memory" in image.error for image in renderer.render(requests(3)))
    assert seen == [4, 2, 1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_memory_that_a_library_misses_is_no_lost_device(models: Models, words: str) -> None:
    renderer, pipe = load_with_pipe(models, "sd")
    failing(pipe, lambda count: count > 2, RuntimeError(words))
    assert [(image.batch_size, image.error) for image in renderer.render(requests(4))] == [(2, None)] * 4


@pytest.mark.slow
def test_a_lost_device_is_fatal(models: Models) -> None:
    renderer, pipe = load_with_pipe(models, "sd")
    failing(pipe, lambda count: True, RuntimeError("CUDA error: device-side assert triggered"))
    with pytest.raises(FatalDeviceError):
        renderer.render(requests(1))


@pytest.mark.slow
def test_what_was_patched_is_named(models: Models) -> None:
    assert load(models, "sd").info.patches[-3:] == ("shared_work", "step_cache", "freeu")
    assert load(models, "sd", dtype="float8").info.patches[0] == "float8"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_layers_of_the_text_encoder_are_skipped_as_diffusers_does(models: Models, name: str) -> None:
    renderer = load(models, name)
    sampling = Sampling("default", 5.0, 2, 32, 32, negative_prompt="a blue square", clip_skip=1)
    skipped = ImageRequest("a", "a red circle", 1, sampling)
    whole = replace(skipped, sampling=replace(sampling, clip_skip=0))
    made = [renderer.render([request])[0].pixels for request in (whole, skipped, whole)]
    assert np.array_equal(made[1], renderer.by_diffusers(skipped))
    assert np.array_equal(made[0], made[2])  # embeddings of one are not taken for those of the other
    assert not np.array_equal(made[0], made[1])
