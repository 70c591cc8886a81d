"""Identity: cells and shards, and the digests that name them and their images.

What a thing is decides its name, never when, where or by whom it was made: a relaunch finds the same names.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from darkroom.domain.adapters import CONTROLNET, LORAS, REFINER, Part
from darkroom.domain.settings import (
    FLOAT8,
    LOSSY_OF_MODEL,
    LOSSY_PARTS,
    NEUTRAL_LOSSY,
    NONE,
    NUM_SEEDS,
    UNTAKEN,
    Sampling,
    Value,
    settings_of,
)

_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)  # made once: three calls an image
_EXACT_DTYPES = ("bfloat16", "float16", "float32")


def digest(*parts: object, length: int = 32) -> str:
    """Hex digest (`length` characters of SHA-256) of JSON-like parts: equal values, equal digest, in any process."""
    return hashlib.sha256(_JSON.encode(parts).encode()).hexdigest()[:length]


@dataclass(frozen=True)
class ModelIdentity:
    """A model as it was found: enough to name its pixels, nothing about the machine that holds it."""

    repo_id: str  # hub id, or the name of a local folder
    revision: str  # hub commit, or "sha256:..." over a local folder's weights and configuration
    dtype: str  # float32, float16, bfloat16 or float8
    pipeline_class: str  # diffusers class, such as StableDiffusionPipeline
    trust_remote_code: bool = False
    variant: str | None = None  # file variant, such as fp16
    parts: tuple[Part, ...] = ()  # what is added to it
    quantization: str = NONE  # of its linear layers' weights
    vae_tiling: bool = False
    attention_backend: str | None = None  # of its transformer; None: its own

    @property
    def lossy(self) -> dict[str, Value]:
        """Its settings that trade quality for speed or memory, where they do something."""
        values = {each: getattr(self, each.name) for each in LOSSY_OF_MODEL}
        found = {each.name: value for each, value in values.items() if each.does_something(value)}
        return found | {part.kind: str(part) for part in self.parts if part.kind in LOSSY_PARTS}

    @property
    def numbers(self) -> str:
        """What it computes with, for people, such as "bfloat16, vae_tiling" or "float32, torchao_int8_weight_only"."""
        return ", ".join([self.dtype, *(name if value is True else str(value) for name, value in self.lossy.items())])

    @property
    def loras(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.kind == LORAS)

    def text_of(self, kind: str) -> str | None:
        """Its parts of one kind, for people; None where it has none."""
        return ", ".join(str(part) for part in self.parts if part.kind == kind) or None

    @property
    def parts_text(self) -> str:
        """All of them."""
        kinds = dict.fromkeys(part.kind for part in self.parts)
        return ", ".join(f"{kind} {self.text_of(kind)}" for kind in kinds)

    @property
    def refiner(self) -> Part | None:
        """The model that finishes what it begins."""
        return self._part(REFINER)

    @property
    def controlnet(self) -> Part | None:
        """The network by which pictures shape its images."""
        return self._part(CONTROLNET)

    def _part(self, kind: str) -> Part | None:
        return next((part for part in self.parts if part.kind == kind), None)

    @property
    def base(self) -> "ModelIdentity":
        """What is loaded once for all that differ in LoRAs alone: those are switched."""
        return replace(self, parts=tuple(part for part in self.parts if part.kind != LORAS))

    @property
    def is_plug_in(self) -> bool:
        """Whether it is a renderer of the user's own, which `pipeline_class` then names as my_module:make."""
        return ":" in self.pipeline_class

    def said_of(self, sampling: Sampling) -> dict[str, Value]:
        """The settings that say something of an image: those that a renderer of one's own does not take say nothing."""
        found = sampling.effective
        return {name: value for name, value in found.items() if not self.is_plug_in or UNTAKEN.get(name) != value}


@dataclass(frozen=True)
class Cell:
    """One setting of everything that shapes the image. How it is executed is not part of it."""

    model: ModelIdentity
    sampling: Sampling

    @cached_property
    def cell_id(self) -> str:
        model = self.model
        shaped_by = (model.revision, model.variant, model.dtype, model.trust_remote_code)
        parts = [[[part.kind, part.name, part.revision, part.weight] for part in model.parts]] if model.parts else []
        lossy = [model.lossy] if model.lossy else []
        return digest("cell", *shaped_by, self.sampling.effective, *parts, *lossy, length=16)

    @cached_property
    def image_sampling(self) -> Sampling:
        """Of its images, whose requests have a seed of their own and are one each."""
        others = {each.name: each.neutral for each in settings_of(Sampling) if not each.of_image}
        return replace(self.sampling, **others)

    @property
    def lossy(self) -> dict[str, Any]:
        """Its lossy settings, and those of its model."""
        dtype = {"dtype": FLOAT8} if self.model.dtype == FLOAT8 else {}
        return {**self.sampling.lossy, **self.model.lossy, **dtype}

    @property
    def lossless(self) -> tuple["Cell", ...]:
        """The same without that, the nearest first; nothing where nothing is lost."""
        if not self.lossy:
            return ()
        dtypes = _EXACT_DTYPES if self.model.dtype == FLOAT8 else (self.model.dtype,)
        sampling = replace(self.sampling, **NEUTRAL_LOSSY)
        neutral: dict[str, Any] = {each.name: each.neutral for each in LOSSY_OF_MODEL}
        neutral["parts"] = tuple(part for part in self.model.parts if part.kind not in LOSSY_PARTS)
        return tuple(Cell(replace(self.model, dtype=dtype, **neutral), sampling) for dtype in dtypes)


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows [start, stop) of a prompt dataset in one cell: what is scheduled, then committed.

    `shard_id` is a digest of the other three and of the dataset's fingerprint: `planned_shard` makes it, and a
    manifest's key says it.
    """

    cell_id: str
    start: int
    stop: int
    shard_id: str

    @property
    def num_rows(self) -> int:
        return self.stop - self.start


def planned_shard(cell_id: str, fingerprint: str, start: int, stop: int) -> Shard:
    """The shard of these rows of the dataset with this fingerprint; a relaunch finds the same one."""
    return Shard(cell_id, start, stop, digest("shard", cell_id, fingerprint, start, stop))


def image_seed(run_seed: int, prompt_id: str, sample_index: int, row_seed: int | None = None) -> int:
    """Seed of one image's noise, in [0, 2**63).

    A row's own seed is used as it stands for the first sample and counted up for the next ones, as image tools do.
    """
    if row_seed is not None:
        return (row_seed + sample_index) % NUM_SEEDS
    return int(digest("seed", run_seed, prompt_id, sample_index, length=64), 16) % NUM_SEEDS


def image_id(cell_id: str, prompt_id: str, sample_index: int, seed: int) -> str:
    return digest("image", cell_id, prompt_id, sample_index, seed)
