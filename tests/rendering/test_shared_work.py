"""Work shared by both branches of guidance and by all steps: how much is computed, and that pictures stay the same."""

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.domain.cells import Sampling
from pipeline.rendering.shared_work import layers_before_text, text_layers, time_layers
from tests.rendering.test_renderers import load, requests

GUIDED = Sampling("ddim", 4.0, 4, 16, 16)
UNGUIDED = replace(GUIDED, guidance_scale=1.0)


def pixels(renderer, sampling: Sampling, count: int = 3) -> list[np.ndarray]:
    return [image.pixels for image in renderer.render(requests(count, sampling))]


def rows(renderer, layer, sampling: Sampling) -> list[int]:
    """Of each call of a layer's norm or weights."""
    seen: list[int] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    renderer.render(requests(4, sampling))
    hook.remove()
    return seen


def test_layers_before_the_text_compute_one_branch(models: dict[str, Path]) -> None:
    renderer = load(models, "sd")
    unet = renderer._pipe.unet
    inner = unet.down_blocks[1].attentions[0].transformer_blocks[0]
    for layer in (unet.down_blocks[0].resnets[0].conv1, unet.down_blocks[1].resnets[0].norm1, inner.attn1.to_q):
        assert rows(renderer, layer, GUIDED) == [4] * 4
        assert rows(renderer, layer, UNGUIDED) == [4] * 4
    assert rows(renderer, inner.attn2.to_q, GUIDED) == [8] * 4


def test_with_pooled_text_in_the_time_both_branches_are_computed(models: dict[str, Path]) -> None:
    renderer = load(models, "sdxl")
    assert rows(renderer, renderer._pipe.unet.down_blocks[0].resnets[0].conv1, GUIDED) == [8] * 4


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_keys_and_values_of_the_text_are_made_once_a_call(models: dict[str, Path], name: str, monkeypatch) -> None:
    renderer = load(models, name)
    layers = text_layers(renderer._pipe.unet)
    made = Counter(type(layer).__name__ for layer in layers)
    calls: Counter = Counter()
    for kind in {type(layer) for layer in layers}:
        own = kind.forward
        monkeypatch.setattr(kind, "forward", lambda self, x, own=own: calls.update([id(self)]) or own(self, x))
    fresh = load(models, name)
    fresh.render(requests(3, GUIDED))
    of_text = [calls[id(layer)] for layer in text_layers(fresh._pipe.unet)]
    assert of_text == [1] * sum(made.values())
    fresh.render(requests(3, GUIDED))
    assert [calls[id(layer)] for layer in text_layers(fresh._pipe.unet)] == [2] * len(of_text)


def test_the_times_part_of_each_block_is_one_row(models: dict[str, Path], monkeypatch) -> None:
    seen: set[int] = set()
    kind = type(time_layers(load(models, "sd")._pipe.unet)[0])
    own = kind.forward
    renderer = load(models, "sd")
    times = {id(layer) for layer in time_layers(renderer._pipe.unet)}

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if id(self) in times:
            seen.add(len(values))
        return own(self, values)

    monkeypatch.setattr(kind, "forward", forward)
    for layer in time_layers(renderer._pipe.unet):
        assert layer.forward.__name__ == "of_one_row"
    renderer.render(requests(3, GUIDED))
    assert seen <= {1}


@pytest.mark.parametrize("name", ["sd", "sdxl"])
@pytest.mark.parametrize(
    "sampling",
    [
        GUIDED,
        UNGUIDED,
        replace(GUIDED, guidance_start=0.5),
        replace(GUIDED, guidance_stop=0.5),
        replace(GUIDED, cache_interval=2),
        replace(GUIDED, negative_prompt="a red circle 0"),
    ],
)
def test_pictures_stay_the_same(models: dict[str, Path], name: str, sampling: Sampling) -> None:
    renderer, plain = load(models, name), load(models, name)
    plain._shared_of = nullcontext
    pairs = list(zip(pixels(renderer, sampling), pixels(plain, sampling), strict=True))
    assert max(np.abs(one.astype(int) - other).max() for one, other in pairs) <= 1


def test_nothing_is_kept_after_a_call(models: dict[str, Path]) -> None:
    renderer = load(models, "sd")
    first = pixels(renderer, GUIDED)
    shared = renderer._shared_of.__self__
    assert not shared._kept
    pixels(renderer, replace(GUIDED, negative_prompt="blue"))
    assert all(np.array_equal(one, other) for one, other in zip(first, pixels(renderer, GUIDED), strict=True))


def test_which_layers_come_before_the_text(models: dict[str, Path]) -> None:
    unet = load(models, "sd")._pipe.unet
    names = {id(module): name for name, module in unet.named_modules()}
    found = [names[id(layer)] for layer in layers_before_text(unet)]
    assert found[0] == "conv_in"
    assert found[-1] == "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
    assert not [name for name in found if name.startswith(("mid", "up"))]
