"""Prompts that say more than their words: each is read before anything is loaded, for every model that it is for.

A row that says what cannot be in a cell is refused, or, with `prompts.on_invalid=record`, an invalid row of that cell.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from darkroom.api.cells import CheckedCell
from darkroom.api.parts import no_lora
from darkroom.api.row_numbers import RowNumbers, row_numbers
from darkroom.domain.adapters import unknown_loras
from darkroom.domain.errors import DarkroomError
from darkroom.domain.prompt_syntax import PLAIN, read_negative, read_prompt
from darkroom.domain.records import PromptRow
from darkroom.prompts.dataset import RECORD, PromptDataset, PromptScan
from darkroom.prompts.sources import shown
from darkroom.rendering.model_calls import check_prompt_syntax

LORA_TAGS = "<lora:...>"  # among the settings that rows have of their own, where prompts name LoRAs


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
