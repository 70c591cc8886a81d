"""Deep features kept over steps: what is computed anew, and that nothing of it outlives its call."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from darkroom.domain.settings import Sampling
from darkroom.rendering.step_cache import deep_layers
from tests.rendering.test_renderers import load, requests

PLAIN = Sampling("ddim", 4.0, 5, 16, 16)


def pixels(renderer, sampling: Sampling, count: int = 3) -> list[np.ndarray]:
    return [image.pixels for image in renderer.render(requests(count, sampling))]


def calls(renderer, sampling: Sampling) -> tuple[int, int]:
    """How often the UNet was called, and how often its middle was computed."""
    seen: list[str] = []
    unet = renderer._pipe.unet
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
@pytest.mark.parametrize(("interval", "whole"), [(1, 5), (2, 3), (3, 2), (9, 1)])
def test_one_of_so_many_calls_is_whole(models: dict[str, Path], name: str, interval: int, whole: int) -> None:
    assert calls(load(models, name), replace(PLAIN, cache_interval=interval)) == (5, whole)


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_pictures_change_and_cells_leave_no_traces(models: dict[str, Path], name: str) -> None:
    renderer = load(models, name)
    plain, kept = pixels(renderer, PLAIN), pixels(renderer, replace(PLAIN, cache_interval=2))
    assert not any(np.array_equal(a, b) for a, b in zip(plain, kept, strict=True))
    assert np.array_equal(pixels(renderer, PLAIN), plain)
    assert np.array_equal(pixels(renderer, replace(PLAIN, cache_interval=2)), kept)
    assert not renderer._step_cache._kept


def test_an_image_is_the_same_beside_others(models: dict[str, Path]) -> None:
    renderer = load(models, "sd")
    sampling = replace(PLAIN, cache_interval=3)
    assert np.array_equal(pixels(renderer, sampling, 1)[0], pixels(renderer, sampling, 4)[0])


def test_where_guidance_ends_all_is_computed(models: dict[str, Path]) -> None:
    """From 8 rows to 4 after two of five calls: calls 1 and 3 are whole, and call 5 is its turn again."""
    assert calls(load(models, "sd"), replace(PLAIN, cache_interval=2, guidance_stop=0.4)) == (5, 3)
    assert calls(load(models, "sd"), replace(PLAIN, cache_interval=9, guidance_stop=0.4)) == (5, 2)


def test_the_outermost_layers_are_always_computed(models: dict[str, Path]) -> None:
    unet = load(models, "sd")._pipe.unet
    names = {id(module): name for name, module in unet.named_modules()}
    deep = {names[id(layer)] for layer in deep_layers(unet)}
    assert "down_blocks.0.resnets.0" not in deep
    assert {"down_blocks.0.downsamplers.0", "mid_block.resnets.0", "up_blocks.0.upsamplers.0"} <= deep
    last = len(unet.up_blocks[-1].resnets) - 1
    assert f"up_blocks.{len(unet.up_blocks) - 1}.resnets.{last}" not in deep


@pytest.mark.slow
def test_a_compiled_unet_keeps_them_too(models: dict[str, Path]) -> None:
    sampling = replace(PLAIN, cache_interval=2)
    eager = np.stack(pixels(load(models, "sd"), sampling)).astype(int)
    compiled = load(models, "sd", compile=True)
    assert np.abs(np.stack(pixels(compiled, sampling)) - eager).max() <= 2
    plain = np.stack(pixels(load(models, "sd"), PLAIN)).astype(int)
    assert np.abs(np.stack(pixels(compiled, PLAIN)) - plain).max() <= 2
