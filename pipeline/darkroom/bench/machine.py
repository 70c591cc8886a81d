"""What a benchmark runs on, and what that could do at most: the work in an image, the rate of matrix products."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from darkroom import __version__
from darkroom.bench.architectures import Architecture, unet, vae

_LIBRARIES = ("torch", "diffusers", "transformers", "ray", "numpy", "pyarrow", "pillow")


def machine() -> dict[str, object]:
    return {
        "processor": _processor(),
        "cores": num_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_before": os.getloadavg()[0],  # what else ran, averaged over a minute
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "darkroom": __version__,
        **{name: _version(name) for name in _LIBRARIES},
    }


def num_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_devices(device: str) -> int:
    """How many workers this machine has room for: a core each, or a GPU."""
    if device != "cuda":
        return num_cores() if device == "cpu" else 1
    import torch

    return torch.cuda.device_count()


def _version(library: str) -> str | None:
    """None where it is not installed: a figure on a GPU needs no Ray."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


_TOKENS = 77
_SIDE = 8192  # of the square matrices
_REPEATS = 30


def unet_flop(architecture: Architecture) -> float:
    """Of one row of a batch, in one step; counted on shapes alone."""
    with torch.device("meta"):
        model = unet(architecture)
        side = architecture.unet["sample_size"]
        text = torch.empty(1, _TOKENS, architecture.unet["cross_attention_dim"])
        pooled = torch.empty(1, architecture.text_encoders[-1]["hidden_size"])
        added = {"text_embeds": pooled, "time_ids": torch.empty(1, 6)} if architecture.is_xl else None
        arguments = torch.empty(1, 4, side, side), torch.empty(1), text
    return _counted(lambda: model(*arguments, added_cond_kwargs=added))


def vae_flop(architecture: Architecture) -> float:
    """Of decoding one image."""
    with torch.device("meta"):
        model = vae(architecture)
        latents = torch.empty(1, 4, architecture.side // 8, architecture.side // 8)
    return _counted(lambda: model.decode(latents))


def image_flop(architecture: Architecture, num_inference_steps: int) -> float:
    """Of an image with guidance, two rows a step; the text apart."""
    return 2 * num_inference_steps * unet_flop(architecture) + vae_flop(architecture)


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations a second of large products, as the card does them now."""
    one, other = (torch.randn(_SIDE, _SIDE, device=device, dtype=dtype) for _ in range(2))
    for repeats in (3, _REPEATS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(repeats):
            one @ other
        torch.cuda.synchronize()
    return 2 * _SIDE**3 * _REPEATS / (time.perf_counter() - started)


def _counted(call: Any) -> float:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())
