"""What is compiled, and that it renders the same pictures."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from torch import nn

from darkroom.domain.settings import Sampling
from darkroom.rendering.compiling import compile_pipeline, use_compiled
from tests.rendering.helpers import SAMPLING, Models, largest_difference, load, pixels
from tests.rendering.tiny_models import tiny_sd


def pipe(transformer: nn.Module) -> SimpleNamespace:
    return SimpleNamespace(transformer=transformer, vae=SimpleNamespace(decode=lambda latents: latents))


def test_of_a_transformer_with_repeated_blocks_these_are_compiled() -> None:
    flux = FluxTransformer2DModel(
        in_channels=4, num_layers=2, num_single_layers=3, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    whole = pipe(flux)
    compile_pipeline(whole)
    assert whole.transformer is flux
    found = [name for name, module in flux.named_modules() if module._compiled_call_impl is not None]
    assert found == [
        *(f"transformer_blocks.{n}" for n in range(2)),
        *(f"single_transformer_blocks.{n}" for n in range(3)),
    ]


def test_of_another_transformer_the_whole_is() -> None:
    sd3 = SD3Transformer2DModel(
        sample_size=8, num_layers=1, attention_head_dim=8, num_attention_heads=2, joint_attention_dim=32,
        caption_projection_dim=16, pooled_projection_dim=32,
    )  # fmt: skip
    whole = pipe(sd3)
    compile_pipeline(whole)
    assert whole.transformer is not sd3
    assert whole.transformer._orig_mod is sd3


def test_spoiled_bytes_are_no_error() -> None:
    """What they would have spared is compiled anew."""
    use_compiled(b"spoiled")


# The smallest UNet with deep layers, and the smallest VAE: compiling them takes most of a test.
_SMALL_UNET = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (8,)}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return {"small": tiny_sd(tmp_path_factory.mktemp("small") / "model", vae_blocks=1, **_SMALL_UNET)}


@pytest.mark.slow
def test_a_compiled_model_renders_the_same_picture(small: Models) -> None:
    sampling = replace(SAMPLING, height=8, width=8)
    eager, compiled = load(small, "small", 2), load(small, "small", 2, compile=True)
    assert (eager.info.compiled, compiled.info.compiled) == (False, True)
    assert largest_difference(pixels(eager, sampling, 1), pixels(compiled, sampling, 1)) <= 2


@pytest.mark.slow
def test_a_captured_unet_computes_and_reuses_what_the_step_cache_says(small: Models, monkeypatch) -> None:
    """Of a compiled UNet's three graphs (full, caching, with cached features) each call takes the right one.

    Captured by torch.compile and run as it is, since generating code for all three takes a minute.
    """
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    eager, captured = load(small, "small", 2), load(small, "small", 2, compile=True)
    full = Sampling("ddim", 4.0, 4, 8, 8)
    for sampling in (full, replace(full, cache_interval=2), full, replace(full, cache_interval=2)):
        assert largest_difference(pixels(eager, sampling, 1), pixels(captured, sampling, 1)) <= 1
    assert largest_difference(pixels(captured, full, 1), pixels(captured, replace(full, cache_interval=2), 1)) > 0
