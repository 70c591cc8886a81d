"""What a benchmark ran on. Loads no library to ask for its version."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline import __version__

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
