"""What is rendered: a model with one setting of everything that shapes the image, and the ranges of prompts in it."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from darkroom.domain import identity
from darkroom.domain.identity import digest
from darkroom.domain.settings import FLOAT8, NEUTRAL_LOSSY, Sampling, settings_of

_EXACT_DTYPES = ("bfloat16", "float16", "float32")


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
class Cell:
    """One setting of everything that shapes the image. How it is executed is not part of it."""

    model: ModelIdentity
    sampling: Sampling

    @cached_property
    def cell_id(self) -> str:
        model = self.model
        shaped_by = (model.revision, model.variant, model.dtype, model.trust_remote_code)
        return digest("cell", *shaped_by, self.sampling.effective, length=16)

    @cached_property
    def image_sampling(self) -> Sampling:
        """Of its images, whose requests have a seed of their own and are one each."""
        others = {each.name: each.neutral for each in settings_of(Sampling) if not each.of_image}
        return replace(self.sampling, **others)

    @property
    def lossy(self) -> dict[str, Any]:
        """What trades this cell's quality for speed."""
        return {**self.sampling.lossy, **({"dtype": FLOAT8} if self.model.dtype == FLOAT8 else {})}

    @property
    def lossless(self) -> tuple["Cell", ...]:
        """The same without that, the nearest first; nothing where nothing is lost."""
        if not self.lossy:
            return ()
        dtypes = _EXACT_DTYPES if self.model.dtype == FLOAT8 else (self.model.dtype,)
        sampling = replace(self.sampling, **NEUTRAL_LOSSY)
        return tuple(Cell(replace(self.model, dtype=dtype), sampling) for dtype in dtypes)


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
    return Shard(cell_id, start, stop, identity.shard_id(cell_id, fingerprint, start, stop))
