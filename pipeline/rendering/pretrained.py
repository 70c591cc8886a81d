"""Loads a diffusers pipeline and suits it to its device: dtype, memory layout, compilation, faster layers."""

from typing import Any

import diffusers
import torch
import transformers

from pipeline.domain.cells import FLOAT8
from pipeline.rendering.compiling import compile_pipeline
from pipeline.rendering.float8 import to_float8
from pipeline.rendering.group_norm import norm_channels_last
from pipeline.rendering.inspection import InspectedModel
from pipeline.rendering.packed import has_onednn, pack_layers
from pipeline.rendering.parts import denoiser
from pipeline.rendering.spec import RendererSpec
from pipeline.rendering.upsampling import upsample_by_subpixels


def load_pipeline(spec: RendererSpec) -> Any:
    """A diffusers pipeline on its device, in its dtype; safetensors only."""
    if spec.device == "cpu":
        torch.set_num_threads(spec.num_threads)
    pipe = _from_pretrained(spec.model)
    pipe.set_progress_bar_config(disable=True)
    pipe.to(spec.device)
    if spec.model.identity.dtype == FLOAT8:
        to_float8(pipe)
    if hasattr(pipe, "upcast_vae") and pipe.vae.config.force_upcast and pipe.vae.dtype == torch.float16:
        # Its range is float32's, so what overflows in float16 need not be decoded twice, nor in float32 at all.
        pipe.vae.to(torch.bfloat16)
    _suit_to_device(pipe, spec)
    return pipe


def _from_pretrained(model: InspectedModel) -> Any:
    for library in (transformers, diffusers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    dtype = model.identity.dtype
    return diffusers.DiffusionPipeline.from_pretrained(
        model.source,
        revision=model.revision,
        variant=model.variant,
        dtype=torch.bfloat16 if dtype == FLOAT8 else getattr(torch, dtype),
        use_safetensors=True,
        trust_remote_code=model.identity.trust_remote_code,
        **dict.fromkeys(model.absent),
    )


def _suit_to_device(pipe: Any, spec: RendererSpec) -> None:
    if spec.device == "cuda":
        _lay_channels_last(pipe)
    if spec.compile:
        compile_pipeline(pipe)
    elif spec.device == "cpu" and denoiser(pipe) is not None:
        _suit_to_cpu(denoiser(pipe))


def _suit_to_cpu(network: Any) -> None:
    """The same pictures up to the order of sums, sooner."""
    if has_onednn():
        upsample_by_subpixels(network)
        pack_layers(network)
        norm_channels_last(network)


def _lay_channels_last(pipe: Any) -> None:
    """As a GPU's convolutions want it."""
    for name in ("unet", "vae"):
        if getattr(pipe, name, None) is not None:
            getattr(pipe, name).to(memory_format=torch.channels_last)
