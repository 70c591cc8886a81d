"""From a row of a prompt dataset to what a renderer is asked for, one image; and what is recorded of that image."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from darkroom.domain.adapters import JOIN, NO_LORA, Active, active_loras, tagged_loras
from darkroom.domain.identity import Cell, image_id, image_seed
from darkroom.domain.prompt_syntax import PLAIN, ReadPrompt, read_negative, read_prompt
from darkroom.domain.settings import IMAGE_SETTINGS, NUM_SEEDS, PICTURES, ROW_SETTINGS, SETTINGS, Sampling, Value

# Column name -> Python type of what a prompt file may say beside `prompt`.
ROW_COLUMNS: dict[str, type] = {"prompt_id": str, **{each.name: each.kind for each in ROW_SETTINGS}}
# Those that prompt files could say in the first version, and those that they may say since a later one: an older
# version carried a column of such a name unread.
_FIRST_COLUMNS = ("guidance_scale", "num_inference_steps", "height", "width", "negative_prompt")
LATER_COLUMNS = tuple(each.name for each in ROW_SETTINGS if each.of_image and each.name not in _FIRST_COLUMNS)
_IMAGE_NAMES = frozenset(each.name for each in IMAGE_SETTINGS)
_NO_LORAS: dict[str, Any] = {name: SETTINGS[name].neutral for name in ("lora", "lora_weight")}
OK = "ok"  # the image is there
FAILED = "failed"  # it could not be rendered; `error` says why, `retry` tries again
INVALID = "invalid"  # its prompt row cannot be rendered; `error` says why
FILTERED = "filtered"  # the renderer's content policy or the run's policy refuses its images; `error` says why
# Records without an image that nothing but another prompt or model mends, each with what is said of so many.
STAYING = {
    INVALID: "{} images are of invalid prompt rows, {}; their records say why",
    FILTERED: "{} images are refused by a policy, {}; their records say why",
}


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompt and what its row says about how to render it."""

    row: int  # 0-based position in the dataset
    prompt_id: str  # from the dataset, or a digest of what the row says (repeats told apart by their occurrence)
    prompt: str
    overrides: tuple[tuple[str, Value], ...] = ()  # name and value of each setting that it gives itself
    error: str | None = None  # why the row cannot be rendered, when invalid rows are recorded and not refused
    files: tuple[tuple[str, bytes], ...] = ()  # pictures that it holds: their names in its settings, and their files


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that an image is made from, once it was looked at."""

    name: str  # of the setting that names it, such as image
    sha256: str  # of its pixels as they were decoded, before they were fitted to the image's size
    pixels: Any = field(default=None, compare=False, repr=False)  # numpy uint8, in the image's size: (height, width, 3)
    # RGB, and of a mask (height, width), 255 where the image is painted and 0 where it is kept; None: not at hand


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One image to render. Equal requests to equal models give equal noise, whatever else is in the batch."""

    image_id: str
    prompt: str
    seed: int  # of a CPU torch.Generator, one each
    sampling: Sampling
    adapters: Active = ()  # LoRAs that it is made with
    trajectory: tuple[int, ...] | None = None  # steps, from 1, whose state is wanted too; (): a spread; None: of none
    pictures: tuple[Picture, ...] = ()  # that it is made from

    @property
    def read_prompt(self) -> ReadPrompt:
        return read_prompt(self.prompt, self.sampling.prompt_syntax)

    @property
    def read_negative_prompt(self) -> ReadPrompt:
        return read_negative(self.sampling.negative_prompt, self.sampling.prompt_syntax)

    def picture(self, name: str) -> Any:
        """Pixels of the picture that the setting `name` names; None where there is none."""
        return next((each.pixels for each in self.pictures if each.name == name), None)

    def batch_key(self, mixes_guidance: bool, mixes_loras: bool = False) -> tuple[Sampling, Active]:
        """Requests that share it may share a batch, of a renderer that mixes these or of one that does not."""
        sampling, adapters = self.sampling, self.adapters
        if self.pictures:  # which are each image's own; whether there are any decides who renders
            kinds: dict[str, Any] = {name: name if getattr(sampling, name) else "" for name in PICTURES}
            sampling = replace(sampling, **kinds)
        if mixes_loras:
            sampling, adapters = replace(sampling, **_NO_LORAS), ()
        if mixes_guidance:
            sampling = replace(sampling, guidance_scale=float(sampling.is_guided), negative_prompt="")
        return sampling, adapters


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of the dataset: the row it comes from, which of the row's images it is, and the request it makes."""

    row: PromptRow
    sample_index: int
    request: ImageRequest


def samples(row: PromptRow, cell: Cell, run_seed: int, num_images_per_prompt: int) -> Iterator[Sample]:
    """The images of one row in one cell; the row's own values win over the cell's, and those over the run's."""
    sampling = row_sampling(row, cell)
    adapters = () if row.error else adapters_of(cell, sampling, row.prompt)
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


def resampled(sample: Sample, index: int, cell: Cell, run_seed: int) -> Sample:
    """The image of the same row with another sample index, whose seed goes by where this one's came from: the run or
    the cell, or the row itself."""
    row, request, own = sample.row, sample.request, cell.sampling.seed
    seed = run_seed if own is None else own
    is_digest = request.seed == image_seed(seed, row.prompt_id, sample.sample_index)
    row_seed = None if is_digest else (request.seed - sample.sample_index) % NUM_SEEDS
    noise = image_seed(seed, row.prompt_id, index, row_seed)
    name = image_id(cell.cell_id, row.prompt_id, index, noise)
    return Sample(row, index, replace(request, image_id=name, seed=noise))


def row_sampling(row: PromptRow, cell: Cell) -> Sampling:
    """The cell's settings of an image with the row's own; the cell's very object where the row has none. `lora` is of
    the LoRAs that the prompt names, where it names any."""
    given = {name: value for name, value in row.overrides if name in _IMAGE_NAMES}
    sampling = replace(cell.image_sampling, **given) if given else cell.image_sampling  # type: ignore[arg-type]
    if sampling.prompt_syntax == PLAIN or row.error or not cell.model.loras:
        return sampling
    if not read_prompt(row.prompt, sampling.prompt_syntax).loras:
        return sampling
    revisions = dict(adapters_of(cell, sampling, row.prompt))
    names = [part.name for part in cell.model.loras if part.revision in revisions]
    return replace(sampling, lora=JOIN.join(names) or NO_LORA)


def adapters_of(cell: Cell, sampling: Sampling, prompt: str = "") -> Active:
    """The LoRAs of an image of this cell with these settings: those that its prompt names, or else those of `lora`."""
    if not cell.model.parts:
        return ()
    tags = read_prompt(prompt, sampling.prompt_syntax).loras
    if tags:
        return tagged_loras(cell.model.loras, tags, sampling.lora_weight)
    return active_loras(cell.model.loras, sampling.lora, sampling.lora_weight)


def _number(value: Value) -> int:
    assert isinstance(value, int)
    return value


@dataclass(frozen=True, slots=True)
class Record:
    """One image's metadata. Everything that the image is a function of, where it lies, and how it was made."""

    image_id: str
    prompt_id: str
    prompt: str
    sample_index: int
    seed: int
    row: int  # of the prompt dataset, from 0
    sampling: Sampling  # of the image; in tables a column a setting, by its name
    model: str
    model_revision: str
    pipeline_class: str
    cell_id: str
    shard_id: str
    key: str | None  # object that holds the image, relative to the run
    member: str | None  # its name inside a container
    offset: int | None  # bytes into a tar, or row in a Parquet container
    sha256: str | None  # of the encoded image
    bytes: int | None  # size of the encoded image
    status: str
    error: str | None
    truncated: bool  # the prompt was longer than the text encoder takes
    darkroom_version: str
    torch_version: str | None
    diffusers_version: str | None
    device: str
    batch_size: int  # images in the device's batch, padding included
    compiled: bool  # by torch.compile, which may move low bits
    dtype: str
    render_s: float | None  # this image's share of its batch's time on the device
    encode_s: float | None
    attempt: int  # which try at the shard made this row, from 1
    created_at: datetime  # UTC
    pixels_sha256: str | None = None  # of the pixels before they were encoded, (height, width, 3) uint8 RGB row by row
    host: str | None = None  # the machine that made it ...
    device_id: str | None = None  # ... the device of it, such as a GPU's UUID ...
    worker: str | None = None  # ... and the worker, as the job's messages call it
    is_seeded: bool | None = None  # whether its renderer promises equal pixels of equal seeds; None: older
    render_cost: float | None = None  # what the renderer's owner takes for it, in the currency of the renderer's price
    render_notes: str | None = None  # what the renderer says of it besides, as JSON, such as {"revised_prompt": "..."}
    proved: bool | None = None  # what the pipeline's arguments mean is known; false: they were taken by their names
    model_parts: str | None = None  # what was added to the model for this image: JSON, a list; None: nothing
    openvino_version: str | None = None  # of OpenVINO, that computed the denoiser; None: torch did
    scheduler_config: str | None = None  # JSON: class and options of the scheduler as loaded; None: none, or older
    policy_scores: str | None = None  # JSON: the image's scores that the run's policy asked for; None: none
    policy_reason: str | None = None  # why the policy might have refused an image that it kept; None: it did not
    policy_rejected: str | None = None  # JSON: images that were made in this one's place and not kept; None: none
    trajectory_key: str | None = None  # object that holds its trajectory, a PNG of x_t above predicted x_0 ...
    trajectory_sha256: str | None = None
    trajectory_bytes: int | None = None
    trajectory_steps: str | None = None  # ... with these steps as columns: JSON, as `trajectories.steps_text` makes it
    overlay: str | None = None  # text that was drawn on it after rendering: JSON; None: none
    watermark: str | None = None  # whether its file holds the run's mark: found, or not found and none is in it
    stored_pixels_sha256: str | None = None  # of the pixels that were encoded, where these are not those as rendered
    c2pa_key: str | None = None  # object that holds the image's signed manifest; None: it has none
    c2pa_sha256: str | None = None  # of that manifest ...
    c2pa_bytes: int | None = None  # ... and its size
    image_sha256: str | None = None  # of the pixels of the picture that `image` names, as decoded; None: of none
    mask_image_sha256: str | None = None  # the same of `mask_image`
    control_image_sha256: str | None = None  # the same of `control_image`


def num_without_image(by_status: Mapping[str, int]) -> int:
    """Records that have none, whatever the reason, of counts by status."""
    return sum(count for status, count in by_status.items() if status != OK)


def _columns() -> Iterator[str]:
    for each in fields(Record):
        if each.name == "sampling":
            yield from (setting.name for setting in IMAGE_SETTINGS)
        else:
            yield each.name


def picture_digests(request: ImageRequest) -> dict[str, Any]:
    """Of the pictures that an image is made from, by the names of a record's columns."""
    return {f"{each.name}_sha256": each.sha256 for each in request.pictures}


def recorded_pictures(record: Record) -> tuple[Picture, ...]:
    """What a record says of them; their pixels are not at hand."""
    digests = ((name, getattr(record, f"{name}_sha256")) for name in PICTURES)
    return tuple(Picture(name, sha256) for name, sha256 in digests if sha256)


RECORD_COLUMNS = tuple(_columns())  # of a table of records, in order
