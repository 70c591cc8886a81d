"""What `torch.compile` is put on, and what it made, as bytes that spare another process the work."""

import platform
from typing import Any

import torch
import torch._dynamo
from torch._dynamo.utils import counters

from darkroom.domain.identity import digest
from darkroom.rendering.spec import Compiled

_MOST_SHAPES = 256  # a sweep's sizes, rows and cached steps; past its limit torch goes on uncompiled: other bytes


def compile_pipeline(pipe: Any) -> None:
    """Of a transformer that names its repeated blocks these alone, which is less work; of other denoisers the whole."""
    torch._dynamo.config.recompile_limit = _MOST_SHAPES
    transformer = getattr(pipe, "transformer", None)
    if transformer is not None and getattr(transformer, "_repeated_blocks", None):
        transformer.compile_repeated_blocks(dynamic=False)
    elif transformer is not None:
        pipe.transformer = torch.compile(transformer, dynamic=False)
    if getattr(pipe, "unet", None) is not None:
        pipe.unet = torch.compile(pipe.unet, dynamic=False)
    pipe.vae.decode = torch.compile(pipe.vae.decode, dynamic=False)


def compiled(device: str) -> Compiled | None:
    """All of this process so far; None where there is nothing."""
    saved = torch.compiler.save_cache_artifacts()
    return Compiled(machine_kind(device), saved[0]) if saved else None


def num_compiled() -> int:
    """Graphs that this process had to compile, since no cache had them."""
    return counters["inductor"]["fxgraph_cache_miss"]


def machine_kind(device: str) -> str:
    """A digest of where compiled code may run: this kind of GPU, or CPUs with these instructions; this torch."""
    kind = torch.cuda.get_device_name() if device == "cuda" else f"{device} {torch.backends.cpu.get_cpu_capability()}"
    return digest("machine", kind, torch.__version__, platform.python_version(), length=16)


def use_compiled(data: bytes) -> None:
    """Take what `compiled` gave on such a machine; what is spoiled or of another shape is compiled anew.

    The bytes hold pickled objects: they must come from where code comes from, never from a store that others write to.
    """
    torch.compiler.load_cache_artifacts(data)
