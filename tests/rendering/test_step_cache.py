"""Deep features reused over steps: what is computed anew, and that nothing outlives its call."""

from dataclasses import replace

import numpy as np
import pytest

from darkroom.domain.settings import Sampling
from darkroom.rendering.step_cache import StepCache, deep_layers
from tests.rendering.helpers import Models, load, load_with_pipe, pixels, requests, without

FULL = Sampling("ddim", 4.0, 5, 16, 16)


def calls(models: Models, name: str, sampling: Sampling) -> tuple[int, int]:
    """How often the UNet is called, and how often its middle is computed."""
    seen: list[str] = []
    renderer, pipe = load_with_pipe(models, name)
    unet = pipe.unet
    middle = unet.mid_block.resnets[0].norm1
    hooks = [
        module.register_forward_pre_hook(lambda _module, _inputs, name=name: seen.append(name))
        for name, module in {"unet": unet, "middle": middle}.items()
    ]
    renderer.render(requests(4, sampling))
    for hook in hooks:
        hook.remove()
    return seen.count("unet"), seen.count("middle")


@pytest.mark.parametrize("name", ["sd", "sdxl"])
@pytest.mark.parametrize(("interval", "full"), [(1, 5), (2, 3), (3, 2), (9, 1)])
def test_one_of_every_interval_calls_is_full(models: Models, name: str, interval: int, full: int) -> None:
    assert calls(models, name, replace(FULL, cache_interval=interval)) == (5, full)


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_pictures_change_and_cells_leave_no_traces(models: Models, name: str) -> None:
    renderer = load(models, name)
    full, cached = pixels(renderer, FULL), pixels(renderer, replace(FULL, cache_interval=2))
    assert not any(np.array_equal(a, b) for a, b in zip(full, cached, strict=True))
    assert np.array_equal(pixels(renderer, FULL), full)
    assert np.array_equal(pixels(renderer, replace(FULL, cache_interval=2)), cached)


def test_an_image_is_the_same_beside_others(models: Models) -> None:
    renderer = load(models, "sd")
    sampling = replace(FULL, cache_interval=3)
    assert np.array_equal(pixels(renderer, sampling, 1)[0], pixels(renderer, sampling, 4)[0])


def test_where_guidance_ends_all_is_computed(models: Models) -> None:
    """From 8 rows to 4 after two of five calls: calls 1 and 3 are full, and call 5 is its turn again."""
    assert calls(models, "sd", replace(FULL, cache_interval=2, guidance_stop=0.4)) == (5, 3)
    assert calls(models, "sd", replace(FULL, cache_interval=9, guidance_stop=0.4)) == (5, 2)


def test_the_outermost_layers_are_always_computed(models: Models) -> None:
    unet = load_with_pipe(models, "sd")[1].unet
    names = {id(module): name for name, module in unet.named_modules()}
    deep = {names[id(layer)] for layer in deep_layers(unet)}
    assert "down_blocks.0.resnets.0" not in deep
    assert {"down_blocks.0.downsamplers.0", "mid_block.resnets.0", "up_blocks.0.upsamplers.0"} <= deep
    last = len(unet.up_blocks[-1].resnets) - 1
    assert f"up_blocks.{len(unet.up_blocks) - 1}.resnets.{last}" not in deep


def test_features_are_released_after_a_call(models: Models) -> None:
    renderer, pipe = load_with_pipe(models, "sd", patches=without("step_cache"))
    cache = StepCache(pipe.unet)
    with cache.during(2, pipe.unet):
        renderer.render(requests(1, FULL))
        assert len(cache.features) == len(deep_layers(pipe.unet))
    assert not cache.features
