"""Every benchmark by its name. Imports one only when it is run."""

from collections.abc import Callable, Sequence
from importlib import import_module

from darkroom.bench.figure import Figure, Setting
from darkroom.domain.errors import DarkroomError

# Name -> module and function, in the order of a full run.
FIGURES = {
    "pipeline_efficiency_local": ("efficiency", "local"),
    "pipeline_efficiency_ray": ("efficiency", "on_ray"),
    "diffusers_script": ("script", "diffusers_script"),
    "ray_data": ("ray_data", "ray_data"),
    "invariance_tax": ("invariance", "invariance_tax"),
    "sweep_sharing": ("commands", "sweep_sharing"),
    "inline_scoring": ("commands", "inline_scoring"),
    "resume": ("resume", "resume"),
    "scale_out": ("scale_out", "scale_out"),
    "gpu_sd15": ("gpu", "gpu_sd15"),
    "gpu_sdxl": ("gpu", "gpu_sdxl"),
}


def chosen(names: Sequence[str] | None) -> dict[str, Callable[[Setting], list[Figure]]]:
    """All benchmarks, or these. Raises DarkroomError for a name that none has."""
    for unknown in [name for name in names or () if name not in FIGURES]:
        raise DarkroomError(f"figures: {unknown} is not one of them; they are {', '.join(FIGURES)}")
    return {name: _found(*FIGURES[name]) for name in (FIGURES if names is None else names)}


def _found(module: str, function: str) -> Callable[[Setting], list[Figure]]:
    return lambda setting: getattr(import_module(f"darkroom.bench.{module}"), function)(setting)
