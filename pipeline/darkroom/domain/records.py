"""One row an image: what a record says, and what may have become of its image."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime

from darkroom.domain.settings import IMAGE_SETTINGS, Sampling

OK = "ok"  # the image is there
FAILED = "failed"  # it could not be rendered; `error` says why, `retry` tries again
INVALID = "invalid"  # its prompt row cannot be rendered; `error` says why
FILTERED = "filtered"  # the renderer refuses its prompt or its image by its content policy; `error` says which
# Records without an image that nothing but another prompt or model mends, each with what is said of so many.
STAYING = {
    INVALID: "{} prompt rows are invalid, {}; their records say why",
    FILTERED: "{} images are refused by a content policy, {}; their records say why",
}


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


def num_without_image(by_status: Mapping[str, int]) -> int:
    """Records that have none, whatever the reason, of counts by status."""
    return sum(count for status, count in by_status.items() if status != OK)


def _columns() -> Iterator[str]:
    for each in fields(Record):
        if each.name == "sampling":
            yield from (setting.name for setting in IMAGE_SETTINGS)
        else:
            yield each.name


RECORD_COLUMNS = tuple(_columns())  # of a table of records, in order
