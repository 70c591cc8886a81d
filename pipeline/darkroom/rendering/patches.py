"""The patches of a loaded pipeline, as one ordered list: what each does, when it applies, and whether it is lossy.

The order matters: LoRAs, which put layers around others, then what replaces or rewrites layers, then what wraps
their calls, then what moves weights to the device for a call, then compiling, which traces all of it. So float8
replaces layers before their calls are wrapped.
What compiling generated can be saved and loaded, which spares another process the work.
"""

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch._dynamo
from torch._dynamo.utils import counters

from darkroom.domain.adapters import LORAS
from darkroom.domain.errors import WrongModel
from darkroom.domain.identity import digest
from darkroom.domain.settings import FLOAT8, Sampling
from darkroom.rendering.adapters import load_loras
from darkroom.rendering.backends import OPENVINO, TORCH, apply_attention_backend, openvino_version
from darkroom.rendering.family import STEERED
from darkroom.rendering.memory_patches import offload, to_float8
from darkroom.rendering.renderer import Compiled, RendererSpec
from darkroom.rendering.transformer_caches import cached_steps
from darkroom.rendering.unet_reuse import SharedWork, StepCache

# (settings of a call, its number of images, padding included) -> the context to run its denoising steps in
CallContext = Callable[[Sampling, int], AbstractContextManager[None]]


@dataclass(frozen=True)
class Patch:
    """One entry of the list. A patch that is not lossy leaves pixels equal up to the order of sums."""

    name: str
    applies: Callable[[Any, RendererSpec], bool]  # to this pipeline: its kind, device, dtype
    apply: Callable[[Any, RendererSpec], CallContext | None]  # changes the pipeline in place
    lossy_by: str | None = None  # a setting by which a user asks for another picture


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


def _has_loras(_pipe: Any, spec: RendererSpec) -> bool:
    return any(file.part.kind == LORAS for file in spec.model.parts)


def _is_float8(_pipe: Any, spec: RendererSpec) -> bool:
    return spec.model.identity.dtype == FLOAT8


def _has_backend(_pipe: Any, spec: RendererSpec) -> bool:
    return spec.model.identity.attention_backend is not None


def _is_compiled_on_cuda(_pipe: Any, spec: RendererSpec) -> bool:
    return spec.device == "cuda" and spec.compile


def _is_steered(pipe: Any, _spec: RendererSpec) -> bool:
    return type(pipe).__name__ in STEERED


def _is_on_openvino(_pipe: Any, spec: RendererSpec) -> bool:
    return spec.backend == OPENVINO


def _is_shared(pipe: Any, spec: RendererSpec) -> bool:
    """Sharing was measured on CPUs, without compilation, only. OpenVINO shares by itself."""
    return _is_steered(pipe, spec) and spec.device == "cpu" and not spec.compile and spec.backend != OPENVINO


def _is_compiled(_pipe: Any, spec: RendererSpec) -> bool:
    return spec.compile


def _has_caches(_pipe: Any, spec: RendererSpec) -> bool:
    return bool(spec.model.family.caches)


def _is_tiled(_pipe: Any, spec: RendererSpec) -> bool:
    return spec.model.identity.vae_tiling


def _is_sliced(_pipe: Any, spec: RendererSpec) -> bool:
    return "vae_slicing" in spec.model.execution


def _is_offloaded(_pipe: Any, spec: RendererSpec) -> bool:
    return spec.is_offloaded


def _set_backend(pipe: Any, spec: RendererSpec) -> None:
    apply_attention_backend(denoiser(pipe), str(spec.model.identity.attention_backend), spec.device)


def _lay_channels_last(pipe: Any, _spec: RendererSpec) -> None:
    """As a GPU's convolutions want it. Uncompiled that is slower, since torch's group norms copy it there and back."""
    for name in ("unet", "vae"):
        if getattr(pipe, name, None) is not None:
            getattr(pipe, name).to(memory_format=torch.channels_last)


def _compute_by_openvino(pipe: Any, spec: RendererSpec) -> CallContext:
    """Raises WrongModel where this machine has not the same OpenVINO: another may have it."""
    here = openvino_version()
    if here is None or spec.openvino_version not in (None, here):
        wanted = f" and not {spec.openvino_version}, with which this job was started" if spec.openvino_version else ""
        raise WrongModel(
            f"engine.backend={OPENVINO}: {platform.node()} has {OPENVINO} {here or 'missing'}{wanted}; install it "
            f"there, or give engine.backend={TORCH}"
        )
    from darkroom.rendering.openvino_unet import OpenVinoUnet

    model = spec.model.identity
    return OpenVinoUnet(pipe.unet, digest("unet", model.revision, model.variant), spec.num_threads).during


def _share_work(pipe: Any, _spec: RendererSpec) -> CallContext:
    shared = SharedWork(pipe.unet)
    return lambda _sampling, num_images: shared.during(num_images)


def _cache_steps(pipe: Any, _spec: RendererSpec) -> CallContext:
    """Does nothing in a call whose cache_interval is 1. The UNet is looked up late: it may be compiled by then."""
    cache = StepCache(pipe.unet)
    return lambda sampling, _num_images: cache.during(sampling.cache_interval, pipe.unet, bool(sampling.freeu))


def _cache_transformer_steps(pipe: Any, _spec: RendererSpec) -> CallContext:
    """Does nothing in a call whose cache is none."""
    return lambda sampling, _num_images: cached_steps(pipe, sampling.cache, sampling.cache_interval)


def _scale_features(pipe: Any, _spec: RendererSpec) -> CallContext:
    """Does nothing in a call whose factors of FreeU are 1."""

    @contextmanager
    def during(sampling: Sampling, _num_images: int) -> Iterator[None]:
        if not sampling.freeu:
            yield
            return
        pipe.enable_freeu(**sampling.freeu)
        try:
            yield
        finally:
            pipe.disable_freeu()

    return during


_MAX_SHAPES = 256  # a sweep's sizes, rows and cached steps; past its limit torch goes on uncompiled: other bytes


def compile_pipeline(pipe: Any) -> None:
    """Compile the denoiser and the decoder; of a transformer that names its repeated blocks these alone: less work."""
    torch._dynamo.config.recompile_limit = _MAX_SHAPES
    transformer = getattr(pipe, "transformer", None)
    if transformer is not None and getattr(transformer, "_repeated_blocks", None):
        transformer.compile_repeated_blocks(dynamic=False)
    elif transformer is not None:
        pipe.transformer = torch.compile(transformer, dynamic=False)
    if getattr(pipe, "unet", None) is not None:
        pipe.unet = torch.compile(pipe.unet, dynamic=False)
    if getattr(pipe, "vae", None) is not None:
        pipe.vae.decode = torch.compile(pipe.vae.decode, dynamic=False)


PATCHES: tuple[Patch, ...] = (
    Patch("loras", _has_loras, lambda pipe, spec: load_loras(pipe, spec.model.parts)),
    Patch("float8", _is_float8, lambda pipe, spec: to_float8(denoiser(pipe), torch.device(spec.device)), "model.dtype"),
    Patch("attention_backend", _has_backend, _set_backend, "model.attention_backend"),
    Patch("vae_tiling", _is_tiled, lambda pipe, _: pipe.vae.enable_tiling(), "model.vae_tiling"),
    Patch("vae_slicing", _is_sliced, lambda pipe, _: pipe.vae.enable_slicing()),
    Patch("channels_last", _is_compiled_on_cuda, _lay_channels_last),
    Patch("openvino", _is_on_openvino, _compute_by_openvino),
    Patch("shared_work", _is_shared, _share_work),
    Patch("step_cache", _is_steered, _cache_steps, "sampling.cache_interval"),
    Patch("transformer_cache", _has_caches, _cache_transformer_steps, "sampling.cache"),
    Patch("freeu", _is_steered, _scale_features, "sampling.freeu_s1"),
    Patch("offload", _is_offloaded, lambda pipe, spec: offload(pipe, spec.offload, spec.device)),
    Patch("compile", _is_compiled, lambda pipe, _: compile_pipeline(pipe)),
)


def apply_patches(pipe: Any, spec: RendererSpec, patches: Sequence[Patch] = PATCHES) -> AppliedPatches:
    """Apply all patches of the list that fit, in order, to a pipeline on its device, or one that is to be offloaded.

    Raises DarkroomError from them.
    """
    names: list[str] = []
    contexts: list[CallContext] = []
    for patch in patches:
        if patch.applies(pipe, spec):
            context = patch.apply(pipe, spec)
            names.append(patch.name)
            contexts += [context] if context is not None else []
    return AppliedPatches(tuple(names), tuple(contexts))


# What torch.compile generated --------------------------------------------------------------------------------------


def compiled(device: str) -> Compiled | None:
    """All that this process has compiled so far; None where there is nothing."""
    saved = torch.compiler.save_cache_artifacts()
    return Compiled(machine_kind(device), saved[0]) if saved else None


def num_compiled() -> int:
    """Number of graphs that this process compiled because no cache had them."""
    return counters["inductor"]["fxgraph_cache_miss"]


def machine_kind(device: str) -> str:
    """A digest of where compiled code may run: this kind of GPU, or CPUs with these instructions; this torch."""
    kind = torch.cuda.get_device_name() if device == "cuda" else f"{device} {torch.backends.cpu.get_cpu_capability()}"
    return digest("machine", kind, torch.__version__, platform.python_version(), length=16)


def use_compiled(data: bytes) -> None:
    """Load what `compiled` saved on a machine of the same kind; corrupt parts and other shapes are compiled anew.

    The bytes hold pickled objects: they must come from where code comes from, never from a store that others write to.
    """
    torch.compiler.load_cache_artifacts(data)
