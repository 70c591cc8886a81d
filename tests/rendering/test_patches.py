"""The ordered list of patches: which apply to what, that lossless ones leave pictures as they are, and compiling."""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, StableDiffusion3Pipeline, StableDiffusionPipeline
from torch import nn

from darkroom.domain.settings import Sampling
from darkroom.rendering.patches import PATCHES, AppliedPatches, Patch, apply_patches, compile_pipeline, use_compiled
from tests.rendering.helpers import SAMPLING, Models, largest_difference, load, load_with_pipe, pixels, spec_of, without
from tests.rendering.tiny_models import tiny_sd


@pytest.mark.parametrize(
    ("kind", "changes", "wanted"),
    [
        (StableDiffusionPipeline, {}, ["shared_work", "step_cache", "freeu"]),
        (StableDiffusionPipeline, {"backend": "openvino"}, ["openvino", "step_cache", "freeu"]),
        (StableDiffusionPipeline, {"compile": True}, ["step_cache", "freeu", "compile"]),
        (StableDiffusionPipeline, {"device": "cuda"}, ["step_cache", "freeu"]),
        (
            StableDiffusionPipeline,
            {"device": "cuda", "compile": True},
            ["channels_last", "step_cache", "freeu", "compile"],
        ),
        (StableDiffusionPipeline, {"device": "mps"}, ["step_cache", "freeu"]),
        (StableDiffusion3Pipeline, {}, []),
        (StableDiffusion3Pipeline, {"device": "cuda", "compile": True}, ["channels_last", "compile"]),
    ],
)
def test_which_patches_apply(models: Models, kind: type, changes: dict, wanted: list[str]) -> None:
    pipe = kind.__new__(kind)
    pipe.unet = object()
    spec = replace(spec_of(models, "sd"), **changes)
    assert [patch.name for patch in PATCHES if patch.applies(pipe, spec)] == wanted
    model = replace(spec.model, identity=replace(spec.model.identity, dtype="float8"))
    assert [patch.name for patch in PATCHES if patch.applies(pipe, replace(spec, model=model))] == ["float8", *wanted]


def test_layers_are_replaced_before_their_calls_are_wrapped_and_compiling_is_last() -> None:
    names = [patch.name for patch in PATCHES]
    assert names.index("float8") < names.index("openvino")
    assert names[-7:] == ["openvino", "shared_work", "step_cache", "transformer_cache", "freeu", "offload", "compile"]


def test_patches_are_applied_in_order_and_their_contexts_surround_a_call(models: Models) -> None:
    done: list[Any] = []

    class Context:
        def __init__(self, name: str, count: int) -> None:
            self.name, self.count = name, count

        def __enter__(self) -> None:
            done.append(("enter", self.name, self.count))

        def __exit__(self, *_: object) -> None:
            done.append(("exit", self.name, self.count))

    def patch(name: str, applies: bool = True, has_context: bool = True) -> Patch:
        def apply(pipe: Any, spec: Any) -> Any:
            done.append(("apply", name, pipe))
            return (lambda sampling, count: Context(name, count)) if has_context else None

        return Patch(name, lambda pipe, spec: applies, apply)

    listed = [patch("a"), patch("b", applies=False), patch("c", has_context=False), patch("d")]
    applied = apply_patches("pipe", spec_of(models, "sd"), listed)
    assert applied.names == ("a", "c", "d")
    assert done == [("apply", name, "pipe") for name in applied.names]
    done.clear()
    with suppress(KeyError), applied.around_call(SAMPLING, 4):
        done.append("call")
        raise KeyError
    assert done == [("enter", "a", 4), ("enter", "d", 4), "call", ("exit", "d", 4), ("exit", "a", 4)]


def test_without_patches_a_call_has_no_context() -> None:
    with AppliedPatches().around_call(SAMPLING, 4):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3"])
def test_lossless_patches_leave_pictures_as_they_are(models: Models, name: str) -> None:
    """Each left out in turn, and all of them."""
    lossless = [patch.name for patch in PATCHES if patch.lossy_by is None]
    exact = pixels(load_with_pipe(models, name, patches=())[0], count=2)
    for left_out in ([], *([each] for each in lossless if each != "compile")):
        renderer, _ = load_with_pipe(models, name, patches=without(*left_out))
        assert largest_difference(pixels(renderer, count=2), exact) <= 1


def pipe(transformer: nn.Module) -> SimpleNamespace:
    return SimpleNamespace(transformer=transformer, vae=SimpleNamespace(decode=lambda latents: latents))


@pytest.mark.slow
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


@pytest.mark.slow
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


# The smallest UNet with deep layers, and the smallest VAE.
_SMALL_UNET = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (8,)}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return {"small": tiny_sd(tmp_path_factory.mktemp("small") / "model", vae_blocks=1, **_SMALL_UNET)}


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
