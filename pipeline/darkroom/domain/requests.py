"""From a row of a prompt dataset to what a renderer is asked for: one image, complete in itself."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from darkroom.domain.adapters import Active, active_loras
from darkroom.domain.identity import Cell, image_id, image_seed
from darkroom.domain.settings import IMAGE_SETTINGS, ROW_SETTINGS, Sampling, Value

# Column name -> Python type of what a prompt file may say beside `prompt`.
ROW_COLUMNS: dict[str, type] = {"prompt_id": str, **{each.name: each.kind for each in ROW_SETTINGS}}
# Those that prompt files may say since a later version; an older one carried a column of that name unread.
LATER_COLUMNS = tuple(each.name for each in ROW_SETTINGS if each.of_image and each.has_neutral)
_IMAGE_NAMES = frozenset(each.name for each in IMAGE_SETTINGS)


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompt and what its row says about how to render it."""

    row: int  # 0-based position in the dataset
    prompt_id: str  # from the dataset, or a digest of what the row says (repeats told apart by their occurrence)
    prompt: str
    overrides: tuple[tuple[str, Value], ...] = ()  # name and value of each setting that it gives itself
    error: str | None = None  # why the row cannot be rendered, when invalid rows are recorded and not refused


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One image to render. Equal requests to equal models give equal noise, whatever else is in the batch."""

    image_id: str
    prompt: str
    seed: int  # of a CPU torch.Generator, one each
    sampling: Sampling
    adapters: Active = ()  # LoRAs that it is made with

    def batch_key(self, mixes_guidance: bool) -> tuple[Sampling, Active]:
        """Requests that share it may share a batch, of a renderer that mixes guidance or of one that does not."""
        if not mixes_guidance:
            return self.sampling, self.adapters
        guided = float(self.sampling.is_guided)
        return replace(self.sampling, guidance_scale=guided, negative_prompt=""), self.adapters


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of the dataset: the row it comes from, which of the row's images it is, and the request it makes."""

    row: PromptRow
    sample_index: int
    request: ImageRequest


def samples(row: PromptRow, cell: Cell, run_seed: int, num_images_per_prompt: int) -> Iterator[Sample]:
    """The images of one row in one cell; the row's own values win over the cell's, and those over the run's."""
    sampling = row_sampling(row, cell)
    adapters = adapters_of(cell, sampling)
    seed, count, row_seed = cell.sampling.seed, cell.sampling.num_images_per_prompt, None
    for name, value in row.overrides:
        if name == "num_images_per_prompt":
            count = _number(value)
        elif name == "seed":
            row_seed = _number(value)
    for index in range(num_images_per_prompt if count is None else count):
        noise = image_seed(run_seed if seed is None else seed, row.prompt_id, index, row_seed)
        name = image_id(cell.cell_id, row.prompt_id, index, noise)
        yield Sample(row, index, ImageRequest(name, row.prompt, noise, sampling, adapters))


def row_sampling(row: PromptRow, cell: Cell) -> Sampling:
    """The cell's settings of an image with the row's own; the cell's very object where the row has none."""
    given = {name: value for name, value in row.overrides if name in _IMAGE_NAMES}
    return replace(cell.image_sampling, **given) if given else cell.image_sampling  # type: ignore[arg-type]


def adapters_of(cell: Cell, sampling: Sampling) -> Active:
    """The LoRAs of an image of this cell with these settings."""
    return active_loras(cell.model.loras, sampling.lora, sampling.lora_weight) if cell.model.parts else ()


def _number(value: Value) -> int:
    assert isinstance(value, int)
    return value
