"""What a renderer is asked for: one image, complete in itself."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from pipeline.domain.cells import Cell, Sampling
from pipeline.domain.identity import image_id, image_seed
from pipeline.domain.prompts import PromptRow

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One image to render. Equal requests to equal models give equal noise, whatever else is in the batch."""

    image_id: str
    prompt: str
    seed: int  # of a CPU torch.Generator, one each
    sampling: Sampling

    def batch_key(self, mixes_guidance: bool) -> Sampling:
        """Requests that share it may share a batch, of a renderer that mixes guidance or of one that does not."""
        if not mixes_guidance:
            return self.sampling
        return replace(self.sampling, guidance_scale=float(self.sampling.is_guided), negative_prompt="")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of the dataset: the row it comes from, which of the row's images it is, and the request it makes."""

    row: PromptRow
    sample_index: int
    request: ImageRequest


def samples(row: PromptRow, cell: Cell, run_seed: int, num_images_per_prompt: int) -> Iterator[Sample]:
    """The images of one row in one cell; the row's own values win over the cell's."""
    sampling = row_sampling(row, cell.sampling)
    for index in range(row.num_images_per_prompt or num_images_per_prompt):
        seed = image_seed(run_seed, row.prompt_id, index, row.seed)
        name = image_id(cell.cell_id, row.prompt_id, index, seed)
        yield Sample(row, index, ImageRequest(name, row.prompt, seed, sampling))


def row_sampling(row: PromptRow, sampling: Sampling) -> Sampling:
    return replace(
        sampling,
        guidance_scale=_first(row.guidance_scale, sampling.guidance_scale),
        num_inference_steps=_first(row.num_inference_steps, sampling.num_inference_steps),
        height=_first(row.height, sampling.height),
        width=_first(row.width, sampling.width),
        negative_prompt=_first(row.negative_prompt, sampling.negative_prompt),
    )


def _first(own: T | None, shared: T) -> T:
    return shared if own is None else own
