"""Prompts that say more than their words: each is read before anything is loaded, for every model that it is for."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from darkroom.api.cells import CheckedCell
from darkroom.api.parts import no_lora
from darkroom.domain.errors import DarkroomError
from darkroom.domain.prompt_syntax import PLAIN, read_negative, read_prompt
from darkroom.domain.records import PromptRow
from darkroom.prompts.dataset import PromptDataset, PromptScan
from darkroom.prompts.sources import shown
from darkroom.rendering.model_calls import check_prompt_syntax

LORA_TAGS = "<lora:...>"  # among the settings that rows have of their own, where prompts name LoRAs


def check_prompts(dataset: PromptDataset, scan: PromptScan, cells: Sequence[CheckedCell]) -> int:
    """Number of rows whose prompts name LoRAs. Raises DarkroomError for the first row that cannot be read."""
    asked = [item for item in cells if item.cell.sampling.prompt_syntax != PLAIN]
    asked = list(cells) if "prompt_syntax" in scan.num_overriding else asked
    num_tagged = sum(_check_row(row, asked) for row in _valid_rows(dataset)) if asked else 0
    if num_tagged == scan.num_rows - scan.num_invalid and len({item.cell.sampling.lora for item in asked}) > 1:
        raise DarkroomError(
            "grid.axes.lora: every prompt names the LoRAs that it is made with, and wins over the cell's; leave the "
            "axis out, or take <lora:...> out of the prompts"
        )
    return num_tagged


def tag_warnings(scan: PromptScan, num_tagged: int, cells: Sequence[CheckedCell]) -> Iterator[str]:
    """Prompts that name no LoRA are made with those that `lora` names, and where it names none, with all."""
    num_others = scan.num_rows - scan.num_invalid - num_tagged
    if num_tagged and num_others and any(item.cell.model.loras and not item.cell.sampling.lora for item in cells):
        yield (
            f"{num_tagged:,} prompts name their LoRAs, and the other {num_others:,} are made with all of model.loras; "
            "sampling.lora=none makes these with none"
        )


def text_reader(syntax: str) -> Callable[[PromptRow], str]:
    """What of a row's prompt is encoded, in a cell of this `prompt_syntax`."""
    return lambda row: read_prompt(row.prompt, str(dict(row.overrides).get("prompt_syntax", syntax))).text


def _valid_rows(dataset: PromptDataset) -> Iterator[PromptRow]:
    return (row for block in dataset.blocks() for row in block.rows if not row.error)


def _check_row(row: PromptRow, cells: Sequence[CheckedCell]) -> bool:
    """Whether its prompt names LoRAs, in any of the cells."""
    given = dict(row.overrides)
    try:
        return sum(_check_in_cell(row, given, item) for item in cells) > 0  # each is checked
    except DarkroomError as error:
        raise DarkroomError(f"prompts, row {row.row}: {error} (prompt: {shown(row.prompt)})") from None


def _check_in_cell(row: PromptRow, given: Mapping[str, object], item: CheckedCell) -> bool:
    sampling, model = item.cell.sampling, item.model
    syntax = str(given.get("prompt_syntax", sampling.prompt_syntax))
    check_prompt_syntax("prompt_syntax", syntax, model)
    tags = read_prompt(row.prompt, syntax).loras
    read_negative(str(given.get("negative_prompt", sampling.negative_prompt)), syntax)
    known = {part.name for part in item.cell.model.loras}
    for name, _ in tags if not model.plug_in else ():
        if name not in known:
            raise DarkroomError(no_lora(f"<lora:{name}>", name, model, is_tag=True))
    if tags and given.get("lora"):
        raise DarkroomError(
            f"its lora={given['lora']} and <lora:{tags[0][0]}> both choose LoRAs; leave one of them out"
        )
    return bool(tags)
