"""What a report shows, as plain data that is already read, computed and sampled; and whether it fits together.

Strings may come from anyone (prompts, columns of a prompt file, reasons): the page escapes all of them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from darkroom.domain.errors import DarkroomError
from darkroom.domain.trajectories import TrajectoryStep
from darkroom.evaluation.figures import ByValue, Controls, Figure, Gap, Metric

_FILE_NAME = re.compile(r"[0-9A-Za-z_-]{1,128}")
_HREF_SCHEMES = {"", "http", "https"}

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


def control_rows(controls: Controls) -> tuple[CellResult, ...]:
    """Those that have figures, as rows below the cells'."""
    return tuple(
        CellResult(name, {}, max(figure.num_images for figure in control.figures.values()), 0, control.figures)
        for name, control in controls.items()
        if control.figures
    )


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
    settings: Mapping[str, Setting]  # on the axes
    when: str  # such as "round 1 of 3, after 256 images"
    why: str  # such as "CLIP score 0.241, rank 31 of 45; 22 go on"


@dataclass(frozen=True)
class Acceptance:
    """What the run's policy did in one cell."""

    cell_id: str
    num_accepted: int
    num_made: int  # images, those that were not kept too
    num_without: int  # records that are left without an image
    why: Mapping[str, int]  # reasons, the most frequent first


@dataclass(frozen=True)
class Cost:
    """What a cell gains and loses by lossy settings."""

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
class Strip:
    """How one image formed: x_t of some steps above what each predicted of x_0, and the image last, in both rows."""

    image_id: str  # letters, digits, - and _: names the picture's file
    cell_id: str
    prompt_id: str
    prompt: str
    steps: tuple[TrajectoryStep, ...]  # one a column
    picture: bytes  # WebP
    href: str | None  # the stored strip, as seen from the report
    height: int  # pixels of one of its pictures
    width: int


@dataclass(frozen=True)
class NoisedReference:
    """A reference image with as much noise as each of these steps begins with."""

    steps: tuple[TrajectoryStep, ...]  # one a column
    picture: bytes  # WebP


@dataclass(frozen=True)
class Forming:
    """How pictures form."""

    strips: tuple[Strip, ...]  # in order of cells and rows
    noised: tuple[NoisedReference, ...] = ()  # one for each sequence of steps that the strips have
    reference: str = ""  # whose image that is
    notes: tuple[str, ...] = ()  # what is left out, and why


@dataclass(frozen=True)
class PromptFindings:
    """What the run's prompts are like."""

    found: Mapping[str, Any]  # by `prompts.preflight`
    extra: str  # what installs the packages of questions that it left out


@dataclass(frozen=True)
class Edit:
    """An image beside the picture that it was made from, the mask and the control picture, where it has these."""

    image_id: str  # letters, digits, - and _: names the picture's file
    cell_id: str
    prompt: str
    names: tuple[str, ...]  # what stands there, from left to right
    difference: float | None  # mean of all pixels' values from the picture's, of 255; None: it was made from noise
    difference_kept: float | None  # the same where a mask keeps the picture; None: there is none
    share_painted: float | None  # of all difference, in percent, where the mask paints
    picture: bytes  # WebP


@dataclass(frozen=True)
class ReportContent:
    """All that a report says. What does not apply stays empty, and its section is left out."""

    title: str
    facts: tuple[tuple[str, str], ...]  # name and value: what became of it, duration, versions, digests at the end
    command: str  # that makes the run anew
    axes: tuple[Axis, ...]  # empty for a plain run
    cells: tuple[CellResult, ...]  # in the order of tables
    metrics: tuple[Metric, ...] = ()
    score_metric: str | None = None  # the metric whose per-image values `scores` and Picture.score are
    scores: Mapping[str, Sequence[float]] = field(default_factory=dict)  # by cell_id; subsampled: `notes` say how
    # prompt column -> its value -> cell_id -> score
    breakdown: Mapping[str, Mapping[str, Mapping[str, GroupScore]]] = field(default_factory=dict)
    by: Mapping[str, ByValue] = field(default_factory=dict)  # figures with intervals, by column of the prompts
    pictures: tuple[Picture, ...] = ()
    picks: Picks = Picks()
    failures: tuple[FailedImage, ...] = ()
    dropped: tuple[DroppedCell, ...] = ()
    costs: tuple[Cost, ...] = ()
    policy: str = ""  # in words
    acceptances: tuple[Acceptance, ...] = ()  # of a run with a policy, one a cell
    controls: tuple[CellResult, ...] = ()  # rows below the cells' that rank nothing; cell_id is what each is called
    notes: tuple[str, ...] = ()  # what was sampled, and from how many
    grid: bytes | None = None  # PNG of all cells, labelled; None for a plain run
    settings: tuple[tuple[str, str], ...] = ()  # name and value: what is rendered, and what all cells are rendered with
    forming: Forming | None = None
    prompts: PromptFindings | None = None
    edits: tuple[Edit, ...] = ()  # of images that are made from pictures


def check(content: ReportContent) -> None:
    """Raise DarkroomError for the first thing that would make a page that is wrong or unsafe."""
    for fault in _faults(content):
        raise DarkroomError(fault)


def _faults(content: ReportContent) -> Iterator[str]:
    cells = {cell.cell_id for cell in content.cells}
    metrics = {metric.name for metric in content.metrics}
    pictures = {picture.image_id for picture in content.pictures}
    yield from _repeated("cell_id", [cell.cell_id for cell in content.cells])
    yield from _repeated("image_id", [picture.image_id for picture in content.pictures])
    yield from _unknown("a picture's cell_id", (picture.cell_id for picture in content.pictures), cells)
    yield from _unknown("scores' cell_id", content.scores, cells)
    yield from _unknown("picks' image_id", _picked(content), pictures)
    yield from _unknown("a figure's metric", (name for cell in content.cells for name in cell.figures), metrics)
    if content.score_metric is not None:
        yield from _unknown("score_metric", [content.score_metric], metrics)
    yield from _axis_faults(content)
    yield from _picture_faults(content)


def _repeated(what: str, names: list[str]) -> Iterator[str]:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        yield f"report: {what} {twice!r} is there twice; give each once"


def _unknown(what: str, names: Iterable[str], known: set[str]) -> Iterator[str]:
    for name in names:
        if name not in known:
            yield f"report: {what} {name!r} is not among the report's {sorted(known)[:5]}; add it or leave it out"


def _picked(content: ReportContent) -> tuple[str, ...]:
    return content.picks.best + content.picks.median + content.picks.worst


def _axis_faults(content: ReportContent) -> Iterator[str]:
    for axis in content.axes:
        for cell in content.cells:
            if axis.name not in cell.settings:
                yield f"report: cell {cell.cell_id!r} has no setting {axis.name!r}; give it one or drop the axis"
            elif cell.settings[axis.name] not in axis.values:
                value = cell.settings[axis.name]
                yield f"report: cell {cell.cell_id!r} has {axis.name}={value!r}, not a value of the axis; add the value"


def _picture_faults(content: ReportContent) -> Iterator[str]:
    """image_id names a file, and image_href is followed by a click: neither may be anything."""
    strips = content.forming.strips if content.forming else ()
    shown: tuple[Picture | Strip | Edit, ...] = (*content.pictures, *strips, *content.edits)
    for image_id in (each.image_id for each in shown):
        if not _FILE_NAME.fullmatch(image_id):
            yield f"report: image_id {image_id!r} cannot name a file; use letters, digits, - and _"
    for href in (*(picture.image_href for picture in content.pictures), *(strip.href for strip in strips)):
        if href is not None and not _is_safe_href(href):
            yield f"report: image_href {href!r} is no relative path, http or https address; use one"


def _is_safe_href(href: str) -> bool:
    """Browsers drop control signs before they read the scheme, so an address that has any is refused."""
    if any(ord(sign) < 33 for sign in href) or "\\" in href:
        return False
    try:
        return urlsplit(href).scheme.lower() in _HREF_SCHEMES
    except ValueError:
        return False
