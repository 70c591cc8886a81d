"""What is compiled; `test_renderers` holds that it renders the same picture."""

from types import SimpleNamespace

from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from torch import nn

from darkroom.rendering.compiling import compile_pipeline, use_compiled


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
    compiled = [name for name, module in flux.named_modules() if module._compiled_call_impl is not None]
    assert compiled == [
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
