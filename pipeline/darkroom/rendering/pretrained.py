"""Loads a diffusers pipeline and suits it to its device: dtype, memory layout, compilation, faster layers."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from darkroom.domain.settings import FLOAT8
from darkroom.models.memory import leave_files
from darkroom.models.proof import LocalFiles, proved
from darkroom.rendering.compiling import compile_pipeline
from darkroom.rendering.float8 import to_float8
from darkroom.rendering.group_norm import norm_channels_last
from darkroom.rendering.inspection import InspectedModel
from darkroom.rendering.model_code import own_modules
from darkroom.rendering.model_files import shaping_files, snapshot_digests
from darkroom.rendering.packed import has_onednn, pack_layers
from darkroom.rendering.parts import denoiser
from darkroom.rendering.prompt_text import leave_text_as_it_is
from darkroom.rendering.spec import RendererSpec
from darkroom.rendering.upsampling import upsample_by_subpixels


def load_pipeline(spec: RendererSpec) -> Any:
    """A diffusers pipeline on its device, in its dtype; safetensors only."""
    if spec.device == "cpu":
        torch.set_num_threads(spec.num_threads)
    _quieten()
    folder = _here(spec.model)
    return proved(_files(spec.model, folder), lambda: _loaded(spec, folder))


def _quieten() -> None:
    for library in (transformers, diffusers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def _here(model: InspectedModel) -> Path:
    """The model's folder on this machine; a hub's is downloaded, as far as it is needed."""
    if model.revision is None:
        return Path(model.source)
    folder = diffusers.DiffusionPipeline.download(
        model.source,
        revision=model.revision,
        variant=model.variant,
        use_safetensors=True,
        trust_remote_code=model.identity.trust_remote_code,
        **dict.fromkeys(model.absent),
    )
    return Path(folder)


def _files(model: InspectedModel, folder: Path) -> LocalFiles:
    called, trusts_code = f"model.repo_id={model.identity.repo_id}", model.identity.trust_remote_code
    expected = dict(model.digests)
    if model.revision is not None:
        expected = snapshot_digests(folder, trusts_code, expected)
        return LocalFiles(called, folder, expected, lambda: [name for name in expected if (folder / name).is_file()])
    return LocalFiles(called, folder, expected, lambda: shaping_files(folder, trusts_code))


def _loaded(spec: RendererSpec, folder: Path) -> Any:
    """Ready to render, and in no way tied to its files any more."""
    pipe = _from_pretrained(spec.model, folder).to(spec.device)
    pipe.set_progress_bar_config(disable=True)
    leave_text_as_it_is(pipe)
    if spec.model.identity.dtype == FLOAT8:
        to_float8(pipe)
    if hasattr(pipe, "upcast_vae") and pipe.vae.config.force_upcast and pipe.vae.dtype == torch.float16:
        # Its range is float32's, so what overflows in float16 need not be decoded twice, nor in float32 at all.
        pipe.vae.to(torch.bfloat16)
    _suit_to_device(pipe, spec)
    leave_files(part for part in pipe.components.values() if isinstance(part, torch.nn.Module))  # what is still there
    return pipe


def _from_pretrained(model: InspectedModel, folder: Path) -> Any:
    dtype, trusts_code = model.identity.dtype, model.identity.trust_remote_code
    with own_modules() if trusts_code else nullcontext():
        return diffusers.DiffusionPipeline.from_pretrained(
            folder,
            variant=model.variant,
            dtype=torch.bfloat16 if dtype == FLOAT8 else getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=trusts_code,
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
