"""FreeU: the pixels of diffusers' own `enable_freeu`, for the calls that ask for it alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from darkroom.rendering.patches import PATCHES
from tests.rendering.helpers import SAMPLING, Models, largest_difference, load_with_pipe, pixels, without

FACTORS = {"s1": 0.9, "s2": 0.2, "b1": 1.5, "b2": 1.6}
FREEU = replace(SAMPLING, **{f"freeu_{name}": factor for name, factor in FACTORS.items()})
LOSSLESS = without(*(patch.name for patch in PATCHES if patch.lossy_by is None))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_pixels_are_those_of_diffusers_own_and_the_next_call_is_plain(models: Models, name: str) -> None:
    renderer, _ = load_with_pipe(models, name, patches=LOSSLESS)
    plain, found = pixels(renderer), pixels(renderer, FREEU)
    assert all(np.array_equal(one, other) for one, other in zip(plain, pixels(renderer), strict=True))
    assert largest_difference(plain, found) > 4
    other, pipe = load_with_pipe(models, name, patches=())
    pipe.enable_freeu(**FACTORS)
    assert all(np.array_equal(one, two) for one, two in zip(found, pixels(other), strict=True))
    patched, _ = load_with_pipe(models, name)
    assert largest_difference(pixels(patched, FREEU), found) <= 1
    assert np.array_equal(pixels(patched, FREEU, 1)[0], pixels(patched, FREEU, 3)[0])


@pytest.mark.slow
def test_each_factor_acts_alone(models: Models) -> None:
    renderer, _ = load_with_pipe(models, "sd")
    found = [pixels(renderer, replace(SAMPLING, **{f"freeu_{name}": 0.5}), 1)[0] for name in FACTORS]
    assert len({each.tobytes() for each in [*found, pixels(renderer, count=1)[0]]}) == 5


@pytest.mark.slow
def test_reused_features_are_scaled_once(models: Models) -> None:
    """What FreeU changes in place is a copy: a call that reuses features finds them as the full one left them."""
    renderer, pipe = load_with_pipe(models, "sd")
    seen: list[torch.Tensor] = []
    outermost = pipe.unet.up_blocks[-1].resnets[0]  # whose input's first half is of reused features
    hook = outermost.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].chunk(2, 1)[0].clone()))
    pixels(renderer, replace(FREEU, cache_interval=8), 1)
    hook.remove()
    assert len(seen) == SAMPLING.num_inference_steps
    assert all(torch.equal(each, seen[0]) for each in seen[1:])
