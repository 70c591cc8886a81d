"""What is compiled, and that it renders the same pictures."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from torch import nn

from darkroom.rendering.compiling import compile_pipeline, compiled, num_compiled, use_compiled
from tests.rendering.helpers import SAMPLING, largest_difference, load, pixels
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


@pytest.mark.slow
def test_a_compiled_model_renders_the_same_pictures_with_cached_steps_and_without(tmp_path: Path) -> None:
    """The smallest UNet with deep layers: compiling takes most of the test."""
    kind = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (8,)}
    models = {"small": tiny_sd(tmp_path, **kind)}
    eager, renderer = load(models, "small", 2), load(models, "small", 2, compile=True)
    assert renderer.info.compiled
    assert renderer.info.patches == ("step_cache", "compile")
    before = num_compiled()
    for sampling in (SAMPLING, replace(SAMPLING, cache_interval=2), SAMPLING):
        assert largest_difference(pixels(eager, sampling, 1), pixels(renderer, sampling, 1)) <= 2
    assert compiled("cpu") is not None or num_compiled() == before  # what an earlier test run left is not saved again
