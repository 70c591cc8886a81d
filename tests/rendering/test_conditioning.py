"""Text that is encoded once, guidance of one image each in a batch of many, and guidance in some of the steps."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import Sampling
from darkroom.rendering.conditioning import RowScales
from darkroom.rendering.renderer import Renderer
from tests.rendering.helpers import SAMPLING, Models, load, load_with_pipe, requests

MIXED = [
    ImageRequest("0", "a red circle", 1, replace(SAMPLING, guidance_scale=1.5)),
    ImageRequest("1", "a red circle", 2, replace(SAMPLING, guidance_scale=7.3, negative_prompt="blue")),
    ImageRequest("2", "a blue square", 3, replace(SAMPLING, guidance_scale=4.0)),
]


def rows_seen(renderer: Renderer, layer: torch.nn.Module, wanted: list[ImageRequest]) -> list[int]:
    """Rows of each call of a layer while these are rendered."""
    seen: list[int] = []
    hook = layer.register_forward_pre_hook(
        lambda _module, inputs, named: seen.append(len(inputs[0] if inputs else named["input_ids"])), with_kwargs=True
    )
    renderer.render(wanted)
    hook.remove()
    return seen


@pytest.mark.slow
def test_a_prompt_is_encoded_once(models: Models) -> None:
    renderer, pipe = load_with_pipe(models, "sd")
    encoder: Any = pipe.text_encoder
    assert rows_seen(renderer, encoder, requests(3)) == [4, 4]  # three prompts and the negative, each padded
    assert rows_seen(renderer, encoder, requests(3, Sampling("ddim", 2.0, 3, 16, 16))) == []
    assert rows_seen(renderer, encoder, requests(3, Sampling("ddim", 1.0, 3, 16, 16))) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_an_image_is_the_same_beside_others_of_other_guidance(models: Models, name: str) -> None:
    renderer = load(models, name)
    assert renderer.info.mixes_guidance
    together = [image.pixels for image in renderer.render(MIXED)]
    alone = [renderer.render([request])[0].pixels for request in MIXED]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))
    others = renderer.render([replace(request, sampling=SAMPLING) for request in MIXED])
    assert [np.array_equal(a, b.pixels) for a, b in zip(together, others, strict=True)] == [False, False, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_scales_of_rows_multiply_as_numbers_do(dtype: torch.dtype) -> None:
    prediction = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    scales = RowScales([1.1, 7.3, 4.0], torch.device("cpu"))
    assert torch.equal(
        scales * prediction, torch.stack([s * p for s, p in zip([1.1, 7.3, 4.0], prediction, strict=True)])
    )
    assert scales == 1.1


def test_a_batch_key_tells_what_may_share_a_batch() -> None:
    assert len({request.batch_key(mixes_guidance=True) for request in MIXED}) == 1
    assert len({request.batch_key(mixes_guidance=False) for request in MIXED}) == 3
    unguided = replace(MIXED[0], sampling=replace(SAMPLING, guidance_scale=1.0))
    assert unguided.batch_key(mixes_guidance=True) != MIXED[0].batch_key(mixes_guidance=True)


@pytest.mark.slow
def test_without_guidance_the_model_sees_each_image_once(models: Models) -> None:
    renderer, pipe = load_with_pipe(models, "sd")
    assert rows_seen(renderer, pipe.unet, requests(4)) == [8, 8, 8]
    assert rows_seen(renderer, pipe.unet, requests(4, replace(SAMPLING, guidance_scale=1.0))) == [4, 4, 4]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl"])
@pytest.mark.parametrize(
    ("start", "stop", "rows"), [(0.0, 0.5, [8, 8, 4, 4]), (0.25, 0.75, [4, 8, 8, 4]), (0.6, 1.0, [4, 4, 4, 8])]
)
def test_outside_the_interval_the_model_sees_each_image_once(
    models: Models, name: str, start: float, stop: float, rows: list[int]
) -> None:
    renderer, pipe = load_with_pipe(models, name)
    sampling = Sampling("ddim", 4.0, 4, 16, 16, "blue", start, stop)
    assert rows_seen(renderer, pipe.unet, requests(4, sampling)) == rows
    partly = renderer.render(requests(2, sampling))
    whole, never = (renderer.render(requests(2, Sampling("ddim", g, 4, 16, 16, "blue"))) for g in (4.0, 1.0))
    assert [image.error for image in partly] == [None, None]
    assert not any(np.array_equal(partly[0].pixels, other[0].pixels) for other in (whole, never))


@pytest.mark.slow
def test_an_interval_of_no_step_is_no_guidance(models: Models) -> None:
    """Turned on too late for any step: what is left is what an unguided call makes."""
    renderer = load(models, "sd")
    late = renderer.render(requests(2, Sampling("ddim", 4.0, 3, 16, 16, "", 0.9, 1.0)))
    never = renderer.render(requests(2, Sampling("ddim", 1.0, 3, 16, 16)))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(late, never, strict=True))


@pytest.mark.slow
def test_guidance_that_comes_back_on_is_classifier_free_guidance(models: Models) -> None:
    """On from the second step, against the steps done by hand."""
    renderer, pipe = load_with_pipe(models, "sd")
    sampling = Sampling("ddim", 4.0, 3, 16, 16, "", 0.3, 1.0)
    found = renderer.render(requests(1, sampling))[0].pixels.astype(int)
    texts, negatives = pipe.encode_prompt([requests(1)[0].prompt] * 4, "cpu", 1, True)
    latents = torch.randn(
        (1, pipe.unet.config.in_channels, 16 // pipe.vae_scale_factor, 16 // pipe.vae_scale_factor),
        generator=torch.Generator().manual_seed(100),
    ).repeat(4, 1, 1, 1)
    pipe.scheduler.set_timesteps(3)
    with torch.inference_mode():
        for step, timestep in enumerate(pipe.scheduler.timesteps):
            noise = pipe.unet(latents, timestep, texts).sample
            if step > 0:
                without = pipe.unet(latents, timestep, negatives).sample
                noise = without + 4.0 * (noise - without)
            latents = pipe.scheduler.step(noise, timestep, latents).prev_sample
        image = pipe.vae.decode(latents[:1] / pipe.vae.config.scaling_factor).sample[0]
    exact = ((image / 2 + 0.5).clamp(0, 1) * 255).round().permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - exact).max() <= 1
