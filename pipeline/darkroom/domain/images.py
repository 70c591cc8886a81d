"""What a renderer is asked for: one image, complete in itself."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from darkroom.domain.cells import Cell, Sampling
from darkroom.domain.identity import image_id, image_seed
from darkroom.domain.prompts import PromptRow

_ROW_SAMPLING = ("guidance_scale", "num_inference_steps", "height", "width", "negative_prompt")


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
    """The cell's settings with the row's own; the cell's very object where the row has none."""
    own = {name: value for name in _ROW_SAMPLING if (value := getattr(row, name)) is not None}
    return replace(sampling, **own) if own else sampling
