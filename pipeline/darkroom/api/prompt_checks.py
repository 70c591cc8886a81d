"""Prompts looked at before anything is loaded, for every model that they are for: what they say beside their words, and
what rows have of their own, of steps, sizes, schedulers and the like, against what the model takes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from darkroom.api.cells import CheckedCell, check_numbers
from darkroom.api.parts import no_lora
from darkroom.api.picture_checks import is_of_pictures, row_picture_fault
from darkroom.api.plug_ins import plug_in_fault
from darkroom.domain.adapters import unknown_loras
from darkroom.domain.errors import DarkroomError
from darkroom.domain.prompt_syntax import PLAIN, read_negative, read_prompt
from darkroom.domain.records import PromptRow
from darkroom.domain.settings import OF_CONTROL, OF_IMAGE, PICTURES, Value
from darkroom.prompts.dataset import RECORD, PromptDataset, PromptScan
from darkroom.prompts.sources import shown
from darkroom.rendering.description import SIZE
from darkroom.rendering.inspected_model import InspectedModel, check_prompt_syntax, makes_all_sizes, resized
from darkroom.rendering.schedulers import check_scheduler

_LIMITED = ("num_inference_steps", "clip_skip")  # of which the highest fits where all do
_OF_REFINERS = ("num_inference_steps", "guidance_scale")
_OF_SCHEDULERS = ("scheduler", "eta")
_OF_FRAMES = ("num_frames",)
_OF_OWN = (*_OF_FRAMES, *_OF_REFINERS, *_OF_SCHEDULERS)
_NUMBERS = frozenset((*SIZE, *_LIMITED, *_OF_OWN, *OF_IMAGE, *OF_CONTROL, *PICTURES))
_SHOWN = 3  # sizes in a message
Numbers = tuple[tuple[str, Value], ...]
LORA_TAGS = "<lora:...>"  # among the settings that rows have of their own, where prompts name LoRAs


@dataclass
class RowNumbers:
    """Those of one cell; each combination is looked at once."""

    item: CheckedCell
    resized: dict[str, None] = field(default_factory=dict)  # sizes of which others are made, in the order of rows
    faults: dict[Numbers, str] = field(default_factory=dict)  # why no image can be made; empty: one can

    def fault(self, row: PromptRow) -> str:
        own = tuple((name, name if name in PICTURES and value else value) for name, value in row.overrides
                    if name in _NUMBERS)  # fmt: skip
        if own not in self.faults:
            self.faults[own] = self._look_at(dict(own))
        return self.faults[own]

    def _look_at(self, own: Mapping[str, Any]) -> str:
        sampling, model = replace(self.item.cell.sampling, **own), self.item.model
        if fault := row_picture_fault(sampling, model):
            return fault
        if model.plug_in:
            return plug_in_fault(sampling, model.plug_in) or ""
        try:
            if "scheduler" in own:
                check_row_scheduler(sampling.scheduler, model)
            check_numbers(sampling, model, "its ")
        except DarkroomError as error:
            return str(error)
        change = resized((sampling.height, sampling.width), model)
        self.resized |= {change: None} if change else {}
        return ""


def check_row_scheduler(name: str, model: InspectedModel) -> None:
    """As `check_scheduler`, of a row's own."""
    try:
        check_scheduler(name, model, "its scheduler")
    except DarkroomError as error:
        raise type(error)(f"{error}; prompts.columns.scheduler=null renders every row with the run's") from error


def row_numbers(cells: Sequence[CheckedCell], scan: PromptScan) -> dict[str, RowNumbers]:
    """By cell_id, of the cells in which a row may have numbers that do not fit."""
    return {item.cell.cell_id: RowNumbers(item) for item in cells if _may_misfit(item, scan)}


def _may_misfit(item: CheckedCell, scan: PromptScan) -> bool:
    own, model = scan.num_overriding.keys(), item.model
    if is_of_pictures(own) or (item.cell.sampling.image and "num_inference_steps" in own):
        return True
    if model.plug_in:
        return bool((model.plug_in.description.sizes and own & {*SIZE}) or "scheduler" in own)
    if (
        "scheduler" in own
        or (own & {*SIZE} and not makes_all_sizes(model))
        or (own & {*_OF_FRAMES} and model.family.frames_unit)
        or (own & {*_OF_REFINERS} and model.identity.refiner)
    ):
        return True
    most: dict[str, Any] = {name: int(scan.highest[name]) for name in _LIMITED if name in scan.highest}
    try:
        check_numbers(replace(item.cell.sampling, **most), model)
    except DarkroomError:
        return True
    return False


def size_warnings(cells: Sequence[CheckedCell], found: Mapping[str, RowNumbers]) -> Iterator[str]:
    """Of which sizes others are made, by models whose sizes are known."""
    for item in cells:
        sampling, numbers = item.cell.sampling, found.get(item.cell.cell_id)
        if item.model.plug_in:
            continue
        change = resized((sampling.height, sampling.width), item.model)
        changes = [*numbers.resized] if numbers else [change] if change else []
        if changes:
            more = f" and others of {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
            name = f"{item.cell.model.pipeline_class} of {item.cell.model.repo_id}"
            yield f"{name} makes {', '.join(changes[:_SHOWN])}{more}; records will say so"


# Prompts -------------------------------------------------------------------------------------------------------------


@dataclass
class PromptFindings:
    """What prompts say beside their words, in the cells that they are read in."""

    loras: set[str] = field(default_factory=set)  # that prompts name
    num_tagged: int = 0  # rows whose prompts do
    num_invalid: int = 0  # rows that are invalid in a cell or more
    first_invalid: str = ""  # the first of these, and why
    num_images_lost: int = 0  # of these rows, in those cells
    numbers: Mapping[str, RowNumbers] = field(default_factory=dict)  # of rows, by the ids of cells they may not fit


def check_prompts(
    dataset: PromptDataset, scan: PromptScan, cells: Sequence[CheckedCell], num_images_per_prompt: int
) -> PromptFindings:
    """Raises DarkroomError for the first row that cannot be in a cell, where the dataset does not record those.

    `num_images_per_prompt`: where neither the row nor the cell says it.
    """
    found, is_recording = PromptFindings(numbers=row_numbers(cells, scan)), dataset.on_invalid == RECORD
    asked = [item for item in cells if item.cell.cell_id in found.numbers or _may_fail(item, scan, is_recording)]
    for row in _valid_rows(dataset) if asked else ():
        faults = _look_at(row, asked, found)
        if not faults:
            continue
        text = f"prompts, row {row.row}: {next(iter(faults.values()))} (prompt: {shown(row.prompt)})"
        if not is_recording:
            raise DarkroomError(text)
        found.num_invalid += 1
        found.first_invalid = found.first_invalid or text
        counts = [_num_images(row, item, num_images_per_prompt) for item in asked if item.cell.cell_id in faults]
        found.num_images_lost += sum(counts)
    if found.num_tagged == _num_valid(scan, found) and len({item.cell.sampling.lora for item in asked}) > 1:
        raise DarkroomError(
            "grid.axes.lora: every prompt names the LoRAs that it is made with, and wins over the cell's; leave the "
            "axis out, or take <lora:...> out of the prompts"
        )
    return found


def tag_warnings(scan: PromptScan, found: PromptFindings, cells: Sequence[CheckedCell]) -> Iterator[str]:
    """Prompts that name no LoRA are made with those that `lora` names, and where it names none, with all."""
    num_others = _num_valid(scan, found) - found.num_tagged
    if found.num_tagged and num_others and any(item.cell.model.loras and not item.cell.sampling.lora for item in cells):
        yield (
            f"{found.num_tagged:,} prompts name their LoRAs, and the other {num_others:,} are made with all of "
            "model.loras; sampling.lora=none makes these with none"
        )
    if found.num_invalid:
        yield f"{found.num_invalid:,} prompts cannot be rendered, and are recorded as invalid: {found.first_invalid}"


def text_reader(syntax: str) -> Callable[[PromptRow], str]:
    """What of a row's prompt is encoded, in a cell of this `prompt_syntax`; all of it where that cannot be told."""

    def text(row: PromptRow) -> str:
        try:
            return read_prompt(row.prompt, str(dict(row.overrides).get("prompt_syntax", syntax))).text
        except DarkroomError:
            return row.prompt

    return text


def with_faults(rows: Sequence[PromptRow], item: CheckedCell, found: PromptFindings) -> tuple[PromptRow, ...]:
    """The rows, with the reason why where one cannot be in this cell."""
    return tuple(row if row.error else replace(row, error=_fault(row, item, found)) for row in rows)


def _may_fail(item: CheckedCell, scan: PromptScan, is_recording: bool) -> bool:
    """Whether a row may be invalid in this cell for what it says; unknown names of a column are refused elsewhere."""
    is_read = item.cell.sampling.prompt_syntax != PLAIN or "prompt_syntax" in scan.num_overriding
    return is_read or (is_recording and any(unknown_loras(item.cell.model.loras, value) for value in scan.loras))


def _num_valid(scan: PromptScan, found: PromptFindings) -> int:
    return scan.num_rows - scan.num_invalid - found.num_invalid


def _valid_rows(dataset: PromptDataset) -> Iterator[PromptRow]:
    return (row for block in dataset.blocks() for row in block.rows if not row.error)


def _num_images(row: PromptRow, item: CheckedCell, usual: int) -> int:
    return int(dict(row.overrides).get("num_images_per_prompt") or item.cell.sampling.num_images_per_prompt or usual)


def _look_at(row: PromptRow, cells: Sequence[CheckedCell], found: PromptFindings) -> dict[str, str]:
    """Why the row cannot be in some of the cells, by their ids."""
    faults: dict[str, str] = {}
    names: set[str] = set()
    for item in cells:
        try:
            names |= _names_in(row, item, found)
        except DarkroomError as error:
            faults[item.cell.cell_id] = str(error)
    found.loras |= names
    found.num_tagged += bool(names) and not faults
    return faults


def _fault(row: PromptRow, item: CheckedCell, found: PromptFindings) -> str | None:
    try:
        _names_in(row, item, found)
    except DarkroomError as error:
        return str(error)
    return None


def _names_in(row: PromptRow, item: CheckedCell, found: PromptFindings) -> set[str]:
    """The LoRAs that its prompt names in a cell. Raises DarkroomError for what cannot be."""
    numbers = found.numbers.get(item.cell.cell_id)
    if numbers and (fault := numbers.fault(row)):
        raise DarkroomError(fault)
    given: Mapping[str, object] = dict(row.overrides)
    sampling, model = item.cell.sampling, item.model
    syntax = str(given.get("prompt_syntax", sampling.prompt_syntax))
    check_prompt_syntax("prompt_syntax", syntax, model)
    tags = read_prompt(row.prompt, syntax).loras
    read_negative(str(given.get("negative_prompt", sampling.negative_prompt)), syntax)
    if model.plug_in:
        return {name for name, _ in tags}
    known, lora = {part.name for part in item.cell.model.loras}, str(given.get("lora") or "")
    for name in (name for name, _ in tags if name not in known):
        raise DarkroomError(no_lora(f"<lora:{name}>", name, model, is_tag=True))
    for name in unknown_loras(item.cell.model.loras, lora):
        raise DarkroomError(no_lora(f"column lora={lora}", name, model))
    if tags and lora:
        raise DarkroomError(f"its lora={lora} and <lora:{tags[0][0]}> both choose LoRAs; leave one of them out")
    return {name for name, _ in tags}
