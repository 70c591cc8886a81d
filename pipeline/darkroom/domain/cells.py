"""Settings that shape pixels: the model, the sampling, and the cell that joins them under one digest."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from darkroom.domain.identity import digest

# Settings that trade quality for speed, and the values at which they do nothing. Digests leave these out.
_LOSSLESS: Mapping[str, Any] = {"guidance_start": 0.0, "guidance_stop": 1.0, "cache_interval": 1}
FLOAT8 = "float8"  # a dtype: faster than those below, and lossy
_EXACT_DTYPES = ("bfloat16", "float16", "float32")


@dataclass(frozen=True)
class ModelRef:
    """A model as the user names it."""

    repo_id: str  # hub id or local folder
    revision: str | None = None  # branch, tag or commit; None for a local folder
    dtype: str = "auto"  # auto, float32, float16, bfloat16 or float8; auto: float32 on CPU, float16 elsewhere
    variant: str | None = None  # file variant, such as fp16
    trust_remote_code: bool = False


@dataclass(frozen=True)
class ModelIdentity:
    """A model as it was found: enough to name its pixels, nothing about the machine that holds it."""

    repo_id: str  # hub id, or the name of a local folder
    revision: str  # hub commit, or "sha256:..." over a local folder's weights and configuration
    dtype: str  # float32, float16, bfloat16 or float8
    pipeline_class: str  # diffusers class, such as StableDiffusionPipeline
    trust_remote_code: bool = False
    variant: str | None = None  # file variant, such as fp16


@dataclass(frozen=True)
class Sampling:
    """How a prompt becomes an image, by diffusers' parameter names."""

    scheduler: str  # a name of the scheduler table, or "default" for the model's own
    guidance_scale: float
    num_inference_steps: int
    height: int  # pixels
    width: int  # pixels
    negative_prompt: str = ""
    guidance_start: float = 0.0  # guidance acts from this share of the steps on ...
    guidance_stop: float = 1.0  # ... and before this one
    cache_interval: int = 1  # of so many calls of the UNet one is whole, and the others take its deep features

    @property
    def is_guided(self) -> bool:
        """Whether the model sees every image twice, with its prompt and without."""
        return self.guidance_scale > 1

    @property
    def is_partly_guided(self) -> bool:
        return self.is_guided and (self.guidance_start > 0 or self.guidance_stop < 1)

    @property
    def lossy(self) -> dict[str, float]:
        """The settings that trade quality for speed, where they do something."""
        return {name: vars(self)[name] for name, nothing in _LOSSLESS.items() if vars(self)[name] != nothing}

    @property
    def named(self) -> dict[str, object]:
        """Settings by their names; the lossy ones only where they do something."""
        return {name: value for name, value in vars(self).items() if _LOSSLESS.get(name) != value}


@dataclass(frozen=True)
class Cell:
    """One setting of everything that shapes the image. How it is executed is not part of it."""

    model: ModelIdentity
    sampling: Sampling

    @cached_property
    def cell_id(self) -> str:
        model = self.model
        shaped_by = (model.revision, model.variant, model.dtype, model.trust_remote_code)
        return digest("cell", *shaped_by, self.sampling.named, length=16)

    @property
    def lossy(self) -> dict[str, float | str]:
        """What trades this cell's quality for speed."""
        return {**self.sampling.lossy, **({"dtype": FLOAT8} if self.model.dtype == FLOAT8 else {})}

    @property
    def lossless(self) -> tuple["Cell", ...]:
        """The same without that, the nearest first; nothing where nothing is lost."""
        if not self.lossy:
            return ()
        dtypes = _EXACT_DTYPES if self.model.dtype == FLOAT8 else (self.model.dtype,)
        sampling = replace(self.sampling, **_LOSSLESS)
        return tuple(Cell(replace(self.model, dtype=dtype), sampling) for dtype in dtypes)
