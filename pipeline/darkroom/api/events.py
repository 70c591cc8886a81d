"""What is said while work goes on: plain values, given one by one to the caller's `progress`.

Among them are the dispatcher's own events (`engine.tasks`) and how far copies are (`domain.progress`). A
callback that raises ends the work, and its exception comes out of the call; what was committed until then stays.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from darkroom.domain.progress import FilesCopied as FilesCopied
from darkroom.domain.records import Record
from darkroom.engine.meter import Meter
from darkroom.engine.tasks import Event as DispatchEvent
from darkroom.engine.tasks import Summary
from darkroom.runs.cells import CellInfo, Dropped
from darkroom.runs.drivers import Spent
from darkroom.runs.run import RunInfo
from darkroom.storage.store import StoreSpec

CHECKING, MEASURING = "checking features", "measuring"  # stages that read what is stored


@dataclass(frozen=True)
class Warned:
    """Something that works but may surprise."""

    text: str


@dataclass(frozen=True)
class Noted:
    """A line worth reading."""

    text: str


@dataclass(frozen=True)
class BatchSizeSettled:
    """What `auto` means in this run."""

    batch_size: int


@dataclass(frozen=True)
class Prepared:
    """Everything is checked, the engine is started and the run is claimed; nothing is rendered yet."""

    prompts: str  # for people
    num_rows: int
    num_images: int  # of all cells
    overriding: str  # how many rows override which setting
    cells: Mapping[str, CellInfo]  # by cell_id
    run: RunInfo
    is_sweep: bool
    place: str  # of the run
    num_workers: int
    device: str
    shard_size: int
    ignored_shard_size: int | None  # that was asked for in a run that has another
    weight_bytes: int | None = None  # of the largest model, as a worker holds it; None where it cannot be told
    backends: tuple[str, ...] = ()  # that compute the models' denoisers
    compiling: str = ""  # whether models are compiled, and why; empty where nothing had to be decided


@dataclass(frozen=True)
class RoundStarted:
    """Of successive halving."""

    number: int  # from 1
    num_rounds: int
    num_cells: int
    num_shards: int  # of each cell


@dataclass(frozen=True)
class RenderingStarted:
    num_images: int  # that are left; an estimate where some shards are committed
    num_shards: int
    num_committed: int


@dataclass(frozen=True)
class StageStarted:
    """Work on the engine's workers: a run of few images is checked and measured without."""

    meter: Meter  # which goes on counting until the stage has ended


@dataclass(frozen=True)
class Progressed:
    """Images that are done of those that this stage has; for a bar."""

    stage: str  # rendering, features, retry, CHECKING or MEASURING
    num_done: int
    num_images: int
    num_failed: int


@dataclass(frozen=True)
class Rendered:
    """What became of a run's shards, or of a round's."""

    summary: Summary  # of this call
    elapsed_s: float  # since the first worker was ready
    num_missing: int  # shards that are not committed
    earlier: Counter[str] = field(default_factory=Counter)  # records of earlier calls by their status
    num_models: int = 1
    num_cells: int = 1
    store: StoreSpec = StoreSpec("")  # noqa: RUF009, the run's, frozen
    model_settings: Mapping[str, Any] = field(default_factory=dict)  # that a later command must give to find the model
    spent: Spent | None = None  # on this call's workers; None where no price was given
    spent_in_all: Spent | None = None  # on the run's by all calls until now, this one too


@dataclass(frozen=True)
class RenderingEnded:
    rendered: Rendered


@dataclass(frozen=True)
class CellsEqual:
    """Cells whose images are all the same pixels: a setting that does nothing."""

    text: str


@dataclass(frozen=True)
class CellDropped:
    """By successive halving."""

    dropped: Dropped


@dataclass(frozen=True)
class NotOnContactSheet:
    image_id: str
    place: str
    reason: str
    store: StoreSpec


@dataclass(frozen=True)
class RunWritten:
    """All that was to be rendered is tried."""

    contact_sheet: str | None  # its place; None where there is no image
    place: str
    store: StoreSpec
    is_evaluated: bool  # figures follow
    model_settings: Mapping[str, Any]  # that a later command must give to find the model


@dataclass(frozen=True)
class FeaturesStarted:
    num_shards: int
    num_images: int
    extractors: tuple[str, ...]


@dataclass(frozen=True)
class StageEnded:
    """Of features, of a retry, or of reading what is stored: no more images are done in it."""

    stage: str
    spent: Spent | None = None  # on its workers; None where no price was given


@dataclass(frozen=True)
class ReferenceRead:
    """How far the features of a reference are."""

    text: str


@dataclass(frozen=True)
class ImageLeftOut:
    """It has no features, and counts in no figure; of many, the first ones are named."""

    image_id: str
    place: str
    reason: str


@dataclass(frozen=True)
class ImagesLeftOut:
    num_images: int
    num_unnamed: int


@dataclass(frozen=True)
class PairsCounted:
    """Of a comparison by one extractor."""

    num_pairs: int
    num_a: int  # images of each
    num_b: int
    most_compared: int | None  # where there are more than are compared


@dataclass(frozen=True)
class PromptsWritten:
    num_prompts: int
    path: str


@dataclass(frozen=True)
class PromptsReported:
    path: str  # of the page


@dataclass(frozen=True)
class RetryStarted:
    num_images: int
    num_shards: int


@dataclass(frozen=True)
class RenderedElsewhere:
    """Software and device of a record's image and of now, where they are not the same: why bytes may differ."""

    then: tuple[str | None, ...]
    now: tuple[str | None, ...]


@dataclass(frozen=True)
class ImageDiffers:
    """An image that is not what its record says, when it is rendered again."""

    record: Record
    place: str
    sha256: str | None  # of the file that is made now; None where none is
    pixels_are_equal: bool
    how: str | None  # the pixels differ


@dataclass(frozen=True)
class ImageDamaged:
    """A stored image that is not what its record says, and what was done."""

    image_id: str
    place: str
    reason: str  # why it is damaged, or why it is not repaired
    is_repaired: bool = False


@dataclass(frozen=True)
class Profiled:
    """Where the time of a rendering went."""

    table: str
    trace: str  # place


Event = (
    DispatchEvent
    | Warned
    | Noted
    | BatchSizeSettled
    | Prepared
    | RoundStarted
    | RenderingStarted
    | StageStarted
    | Progressed
    | RenderingEnded
    | CellDropped
    | CellsEqual
    | NotOnContactSheet
    | RunWritten
    | FeaturesStarted
    | StageEnded
    | ReferenceRead
    | FilesCopied
    | ImageLeftOut
    | ImagesLeftOut
    | PairsCounted
    | PromptsWritten
    | PromptsReported
    | RetryStarted
    | RenderedElsewhere
    | ImageDiffers
    | ImageDamaged
    | Profiled
)
Progress = Callable[[Any], None]  # takes an Event


def silent(_event: Any) -> None:
    """Nobody listens."""
