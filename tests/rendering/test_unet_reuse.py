"""Work shared in a call, deep features reused over steps: how much is computed; nothing outlives its call."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from darkroom.domain.settings import Sampling
from darkroom.rendering.renderer import Renderer
from darkroom.rendering.unet_reuse import (
    SharedWork,
    StepCache,
    deep_layers,
    layers_before_text,
    text_layers,
    time_layers,
)
from tests.rendering.helpers import Models, largest_difference, load, load_with_pipe, pixels, requests, without

GUIDED = Sampling("ddim", 4.0, 4, 16, 16)
UNGUIDED = replace(GUIDED, guidance_scale=1.0)


def rows(renderer: Renderer, layer: torch.nn.Module, sampling: Sampling) -> list[int]:
    """How many rows the layer was given, call by call."""
    seen: list[int] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    renderer.render(requests(4, sampling))
    hook.remove()
    return seen


@pytest.mark.slow
def test_layers_before_the_text_compute_one_branch(models: Models) -> None:
    renderer, pipe = load_with_pipe(models, "sd")
    unet = pipe.unet
    inner = unet.down_blocks[1].attentions[0].transformer_blocks[0]
    for layer in (unet.down_blocks[0].resnets[0].conv1, unet.down_blocks[1].resnets[0].norm1, inner.attn1.to_q):
        assert rows(renderer, layer, GUIDED) == [4] * 4
        assert rows(renderer, layer, UNGUIDED) == [4] * 4
    assert rows(renderer, inner.attn2.to_q, GUIDED) == [8] * 4


@pytest.mark.slow
def test_with_pooled_text_in_the_time_both_branches_are_computed(models: Models) -> None:
    renderer, pipe = load_with_pipe(models, "sdxl")
    assert rows(renderer, pipe.unet.down_blocks[0].resnets[0].conv1, GUIDED) == [8] * 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_keys_and_values_of_the_text_are_made_once_a_call(models: Models, name: str, monkeypatch) -> None:
    seen = given(monkeypatch, {type(layer) for layer in text_layers(load_with_pipe(models, name)[1].unet)})
    renderer, pipe = load_with_pipe(models, name)
    numbers = {id(layer) for layer in text_layers(pipe.unet)}
    for calls in (1, 2):
        renderer.render(requests(3, GUIDED))
        assert Counter(number for number, _ in seen if number in numbers) == dict.fromkeys(numbers, calls)


@pytest.mark.slow
def test_the_times_part_of_each_block_is_one_row(models: Models, monkeypatch) -> None:
    seen = given(monkeypatch, {type(layer) for layer in time_layers(load_with_pipe(models, "sd")[1].unet)})
    renderer, pipe = load_with_pipe(models, "sd")
    numbers = {id(layer) for layer in time_layers(pipe.unet)}
    renderer.render(requests(3, GUIDED))
    assert Counter(seen_rows for number, seen_rows in seen if number in numbers) == {1: 4 * len(numbers)}


def given(monkeypatch, kinds: set[type]) -> list[tuple[int, int]]:
    """(which layer, how many rows) of all calls from now on, of layers of models yet to be loaded."""
    seen: list[tuple[int, int]] = []
    for kind in kinds:
        forward = kind.forward
        monkeypatch.setattr(
            kind,
            "forward",
            lambda self, rows, forward=forward: seen.append((id(self), len(rows))) or forward(self, rows),
        )
    return seen


SMALL = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "cross_attention_dim": 12,
    "norm_num_groups": 4,
    "attention_head_dim": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
SDXL = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 6 * 4 + 10,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"use_linear_projection": True},
        {"only_cross_attention": (True, False)},
        {"transformer_layers_per_block": (0, 1)},
        {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "up_block_types": ("UpBlock2D", "UpBlock2D")},
        {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")},
        {"encoder_hid_dim_type": "text_proj", "encoder_hid_dim": 12},
        {"resnet_time_scale_shift": "scale_shift"},
        SDXL,
    ],
)
def test_unets_of_all_kinds_say_the_same(config: dict) -> None:
    """Wrapped twice, and called with and without guidance in turn."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**{**SMALL, **config}).eval()
    added = {"text_embeds": torch.randn(6, 10), "time_ids": torch.ones(6, 6)} if "addition_embed_type" in config else {}
    latents, text = torch.randn(3, 4, 8, 8), torch.randn(6, 5, 12)
    calls = [(torch.cat([latents, latents]), time, text) for time in (7, 7, 900)]
    calls += [(latents, 900, text[:3]), (torch.cat([latents, latents]), 3, text.flip(0))]

    def answers() -> list[torch.Tensor]:
        return [
            unet(sample, time, words, added_cond_kwargs={name: rows[: len(sample)] for name, rows in added.items()})[0]
            for sample, time, words in calls
        ]

    with torch.inference_mode():
        wanted = answers()
        SharedWork(unet)
        shared = SharedWork(unet)
        with shared.during(3):
            found = answers()
            assert shared.projections.keys() == dict.fromkeys(range(len(text_layers(unet)))).keys()
        assert not shared.projections
        found += answers()
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, wanted * 2, strict=True))


@pytest.mark.slow
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
def test_pictures_stay_the_same(models: Models, name: str, sampling: Sampling) -> None:
    renderer, exact = (load_with_pipe(models, name, patches=without(*names))[0] for names in ((), ("shared_work",)))
    assert largest_difference(pixels(renderer, sampling), pixels(exact, sampling)) <= 1


@pytest.mark.slow
def test_a_call_leaves_no_traces_in_the_next(models: Models) -> None:
    renderer, _ = load_with_pipe(models, "sd")
    first = pixels(renderer, GUIDED)
    pixels(renderer, replace(GUIDED, negative_prompt="blue"))
    assert np.array_equal(first, pixels(renderer, GUIDED))


def test_which_layers_come_before_the_text(models: Models) -> None:
    unet = load_with_pipe(models, "sd")[1].unet
    names = {id(module): name for name, module in unet.named_modules()}
    found = [names[id(layer)] for layer in layers_before_text(unet)]
    assert found[0] == "conv_in"
    assert found[-1] == "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
    assert not [name for name in found if name.startswith(("mid", "up"))]


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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl"])
@pytest.mark.parametrize(("interval", "full"), [(1, 5), (2, 3), (3, 2), (9, 1)])
def test_one_of_every_interval_calls_is_full(models: Models, name: str, interval: int, full: int) -> None:
    assert calls(models, name, replace(FULL, cache_interval=interval)) == (5, full)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_pictures_change_and_cells_leave_no_traces(models: Models, name: str) -> None:
    renderer = load(models, name)
    full, cached = pixels(renderer, FULL), pixels(renderer, replace(FULL, cache_interval=2))
    assert not any(np.array_equal(a, b) for a, b in zip(full, cached, strict=True))
    assert np.array_equal(pixels(renderer, FULL), full)
    assert np.array_equal(pixels(renderer, replace(FULL, cache_interval=2)), cached)


@pytest.mark.slow
def test_an_image_is_the_same_beside_others(models: Models) -> None:
    renderer = load(models, "sd")
    sampling = replace(FULL, cache_interval=3)
    assert np.array_equal(pixels(renderer, sampling, 1)[0], pixels(renderer, sampling, 4)[0])


@pytest.mark.slow
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


@pytest.mark.slow
def test_features_are_released_after_a_call(models: Models) -> None:
    renderer, pipe = load_with_pipe(models, "sd", patches=without("step_cache"))
    cache = StepCache(pipe.unet)
    with cache.during(2, pipe.unet):
        renderer.render(requests(1, FULL))
        assert len(cache.features) == len(deep_layers(pipe.unet))
    assert not cache.features
