"""The patches of a loaded pipeline, as one ordered list: what each does, when it applies, and whether it is lossy.

The order matters: adapters, which change weights (none yet), then what replaces or rewrites layers, then what wraps
their calls, then compiling, which traces all of it. So float8 replaces layers before their calls are wrapped, and
upsampling makes its convolutions before convolutions are packed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from darkroom.domain.settings import FLOAT8, Sampling
from darkroom.rendering.compiling import compile_pipeline
from darkroom.rendering.cpu_layers import has_onednn, norm_channels_last, pack_layers, upsample_by_subpixels
from darkroom.rendering.float8 import to_float8
from darkroom.rendering.inspection import STEERED
from darkroom.rendering.renderer import RendererSpec
from darkroom.rendering.shared_work import SharedWork
from darkroom.rendering.step_cache import StepCache

# (settings of a call, its number of images, padding included) -> the context to run its denoising steps in
CallContext = Callable[[Sampling, int], AbstractContextManager[None]]


@dataclass(frozen=True)
class Patch:
    """One entry of the list. A patch that is not lossy leaves pixels equal up to the order of sums."""

    name: str
    applies: Callable[[Any, RendererSpec], bool]  # to this pipeline: its kind, device, dtype
    apply: Callable[[Any, RendererSpec], CallContext | None]  # changes the pipeline in place
    lossy_by: str | None = None  # the setting by which a user asks for another picture


@dataclass(frozen=True)
class AppliedPatches:
    """What was applied to one pipeline."""

    names: tuple[str, ...] = ()  # in the order of application
    contexts: tuple[CallContext, ...] = ()

    @contextmanager
    def around_call(self, sampling: Sampling, num_images: int) -> Iterator[None]:
        """The context of a call's denoising steps, for patches that depend on the call."""
        with ExitStack() as stack:
            for context in self.contexts:
                stack.enter_context(context(sampling, num_images))
            yield


def denoiser(pipe: Any) -> Any:
    """The network that is called in every step: a UNet or a transformer; None where a pipeline has neither."""
    return getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)


def _is_float8(_pipe: Any, spec: RendererSpec) -> bool:
    return spec.model.identity.dtype == FLOAT8


def _is_compiled_on_cuda(_pipe: Any, spec: RendererSpec) -> bool:
    return spec.device == "cuda" and spec.compile


def _is_on_onednn(pipe: Any, spec: RendererSpec) -> bool:
    """Compiled code has layouts of its own."""
    return spec.device == "cpu" and not spec.compile and denoiser(pipe) is not None and has_onednn()


def _is_steered(pipe: Any, _spec: RendererSpec) -> bool:
    return type(pipe).__name__ in STEERED


def _is_steered_on_cpu(pipe: Any, spec: RendererSpec) -> bool:
    """Sharing was measured on CPUs, without compilation, only."""
    return _is_steered(pipe, spec) and spec.device == "cpu" and not spec.compile


def _is_compiled(_pipe: Any, spec: RendererSpec) -> bool:
    return spec.compile


def _lay_channels_last(pipe: Any, _spec: RendererSpec) -> None:
    """As a GPU's convolutions want it. Uncompiled that is slower, since torch's group norms copy it there and back."""
    for name in ("unet", "vae"):
        if getattr(pipe, name, None) is not None:
            getattr(pipe, name).to(memory_format=torch.channels_last)


def _share_work(pipe: Any, _spec: RendererSpec) -> CallContext:
    shared = SharedWork(pipe.unet)
    return lambda _sampling, num_images: shared.during(num_images)


def _cache_steps(pipe: Any, _spec: RendererSpec) -> CallContext:
    """Does nothing in a call whose cache_interval is 1. The UNet is looked up late: it may be compiled by then."""
    cache = StepCache(pipe.unet)
    return lambda sampling, _num_images: cache.during(sampling.cache_interval, pipe.unet)


PATCHES: tuple[Patch, ...] = (
    Patch("float8", _is_float8, lambda pipe, _: to_float8(denoiser(pipe), pipe.device), "model.dtype"),
    Patch("channels_last", _is_compiled_on_cuda, _lay_channels_last),
    Patch("subpixel_upsampling", _is_on_onednn, lambda pipe, _: upsample_by_subpixels(denoiser(pipe))),
    Patch("packed_layers", _is_on_onednn, lambda pipe, _: pack_layers(denoiser(pipe))),
    Patch("channels_last_norms", _is_on_onednn, lambda pipe, _: norm_channels_last(denoiser(pipe))),
    Patch("shared_work", _is_steered_on_cpu, _share_work),
    Patch("step_cache", _is_steered, _cache_steps, "sampling.cache_interval"),
    Patch("compile", _is_compiled, lambda pipe, _: compile_pipeline(pipe)),
)


def apply_patches(pipe: Any, spec: RendererSpec, patches: Sequence[Patch] = PATCHES) -> AppliedPatches:
    """Apply to a pipeline on its device all patches of the list that fit, in order. Raises DarkroomError from them."""
    names: list[str] = []
    contexts: list[CallContext] = []
    for patch in patches:
        if patch.applies(pipe, spec):
            context = patch.apply(pipe, spec)
            names.append(patch.name)
            contexts += [context] if context is not None else []
    return AppliedPatches(tuple(names), tuple(contexts))
