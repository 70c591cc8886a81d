"""What a report shows, as plain data that is already read, computed and sampled. Knows no page and no store.

Strings may come from anyone (prompts, columns of a prompt file, reasons): the page escapes all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from darkroom.metrics.figures import Figure, Gap, Metric

Setting = str | int | float


@dataclass(frozen=True)
class Axis:
    """One setting that the cells differ in."""

    name: str  # a key of every cell's settings, such as guidance_scale
    values: tuple[Setting, ...]  # in the order to show them


@dataclass(frozen=True)
class CellResult:
    """One cell that was rendered to its end."""

    cell_id: str
    settings: Mapping[str, Setting]  # all of them; those that axes name must be there
    num_images: int  # rendered and stored
    num_failed: int  # failed, invalid or filtered
    figures: Mapping[str, Figure]  # by Metric.name; a metric may be missing
    gaps: Mapping[str, Gap] = field(default_factory=dict)  # likewise; none for the best cell's own, or not measured
    outdated: frozenset[str] = frozenset()  # metrics of other images than the cell has now; a warning says so


@dataclass(frozen=True)
class GroupScore:
    """Per-image scores of one cell's images that share a value of a prompt column."""

    mean: float
    num_images: int


@dataclass(frozen=True)
class Picture:
    """One image that the report shows."""

    image_id: str  # letters, digits, - and _: names the thumbnail's file
    cell_id: str
    prompt: str
    prompt_id: str
    sample_index: int
    score: float | None
    record: Mapping[str, str]  # all of the image's metadata row, as text
    verify_command: str
    thumbnail: bytes | None  # encoded JPEG, WebP or PNG, some 256 pixels wide
    image_href: str | None = None  # the full image: relative to the report's folder, or http(s)
    in_sheet: bool = True  # False for one that stands among the picks alone
    fault: str = ""  # its file, and why it has no thumbnail


@dataclass(frozen=True)
class FailedImage:
    """A record without an image, or one that a filter took out."""

    image_id: str
    cell_id: str
    prompt: str
    prompt_id: str
    sample_index: int
    status: str  # failed, invalid, filtered
    reason: str
    record: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DroppedCell:
    """A cell that early choice (successive halving) did not render to its end. It is not among the cells."""

    cell_id: str
    settings: Mapping[str, Setting]
    when: str  # such as "round 1 of 3, after 256 images"
    why: str  # such as "CLIP score 0.241, rank 31 of 45; 22 go on"


@dataclass(frozen=True)
class Cost:
    """What a cell gains and loses by settings that trade quality for speed."""

    cell_id: str
    settings: Mapping[str, Setting]  # those settings
    base: str | None  # cell_id of the cell that is the same without them; None: not there, so nothing is known
    speed_up: float | None  # time on the device of one of its images, over that of this cell's; None: unknown
    gaps: Mapping[str, Gap]  # by Metric.name


@dataclass(frozen=True)
class Picks:
    """image_ids of pictures with the best, the middle and the worst scores, best first."""

    best: tuple[str, ...] = ()
    median: tuple[str, ...] = ()
    worst: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportContent:
    """All that a report says. What does not apply stays empty, and its section is left out."""

    title: str
    facts: tuple[tuple[str, str], ...]  # name and value: settings, digests, versions, hardware, duration, images/s
    command: str  # that makes the run again
    axes: tuple[Axis, ...]  # empty for a plain run
    cells: tuple[CellResult, ...]  # in the order of tables
    metrics: tuple[Metric, ...] = ()
    score_metric: str | None = None  # the metric whose per-image values `scores` and Picture.score are
    scores: Mapping[str, Sequence[float]] = field(default_factory=dict)  # by cell_id; subsampled: `notes` say how
    # prompt column -> its value -> cell_id -> score
    breakdown: Mapping[str, Mapping[str, Mapping[str, GroupScore]]] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()
    picks: Picks = Picks()
    failures: tuple[FailedImage, ...] = ()
    dropped: tuple[DroppedCell, ...] = ()
    costs: tuple[Cost, ...] = ()
    notes: tuple[str, ...] = ()  # what was sampled, and from how many
