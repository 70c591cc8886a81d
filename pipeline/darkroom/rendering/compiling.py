"""Compile a pipeline with `torch.compile`; save and load what was generated, which spares another process the work."""

import platform
from typing import Any

import torch
import torch._dynamo
from torch._dynamo.utils import counters

from darkroom.domain.identity import digest
from darkroom.rendering.renderer import Compiled

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
    pipe.vae.decode = torch.compile(pipe.vae.decode, dynamic=False)


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
