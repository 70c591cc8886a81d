"""What the room's tests share: small models loaded on a CPU, and requests to them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering.diffusion import DiffusersRenderer
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.patches import PATCHES, Patch
from darkroom.rendering.pretrained import load_pipeline
from darkroom.rendering.renderer import Renderer, RendererSpec, load_renderer, paint_model

SAMPLING = Sampling("default", 4.0, 3, 16, 16)
Models = dict[str, Path]  # "sd", "sdxl" or "sd3" -> folder


def spec_of(models: Models, name: str, batch_size: int = 4, dtype: str = "auto", **options: Any) -> RendererSpec:
    model = paint_model() if name == "paint" else inspect_model(ModelRef(str(models[name]), dtype=dtype), "cpu")
    return RendererSpec(model, "cpu", batch_size, **options)


def load(models: Models, name: str, batch_size: int = 4, dtype: str = "auto", **options: Any) -> Renderer:
    return load_renderer(spec_of(models, name, batch_size, dtype, **options))


def load_with_pipe(
    models: Models, name: str, dtype: str = "auto", patches: Sequence[Patch] = PATCHES
) -> tuple[DiffusersRenderer, Any]:
    """A renderer, and its pipeline to look into or to disturb."""
    spec = spec_of(models, name, dtype=dtype)
    loaded = load_pipeline(spec, patches)
    return DiffusersRenderer(loaded, spec), loaded.pipe


def without(*names: str) -> list[Patch]:
    """The list of patches but for these."""
    assert set(names) <= {patch.name for patch in PATCHES}
    return [patch for patch in PATCHES if patch.name not in names]


def requests(count: int, sampling: Sampling = SAMPLING) -> list[ImageRequest]:
    return [ImageRequest(f"{n:02}", f"a red circle {n}", 100 + n, sampling) for n in range(count)]


def pixels(renderer: Renderer, sampling: Sampling = SAMPLING, count: int = 3) -> list[np.ndarray]:
    found = [image.pixels for image in renderer.render(requests(count, sampling))]
    assert all(each is not None for each in found)
    return [each for each in found if each is not None]


def largest_difference(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> int:
    """Of any pixel's value, 0 to 255."""
    return max(int(np.abs(one.astype(int) - other.astype(int)).max()) for one, other in zip(some, others, strict=True))
