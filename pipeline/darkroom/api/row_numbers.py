"""Numbers that rows have of their own, of steps, sizes and the like, against what the model of each cell takes.

A cell's own are checked where it is made. A row may say more steps than its scheduler takes, so few that a refiner has
none of them, or a size that its pipeline does not make.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from darkroom.api.cells import CheckedCell, check_numbers
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import PromptRow
from darkroom.domain.settings import Value
from darkroom.prompts.dataset import PromptScan
from darkroom.rendering.description import SIZE
from darkroom.rendering.model_calls import makes_all_sizes, resized

_LIMITED = ("num_inference_steps", "clip_skip")  # of which the highest fits where all do
_OF_REFINERS = ("num_inference_steps", "guidance_scale")
_NUMBERS = frozenset((*SIZE, *_LIMITED, *_OF_REFINERS))
_SHOWN = 3  # sizes in a message
Numbers = tuple[tuple[str, Value], ...]


@dataclass
class RowNumbers:
    """Those of one cell; each combination is looked at once."""

    item: CheckedCell
    resized: dict[str, None] = field(default_factory=dict)  # sizes of which others are made, in the order of rows
    faults: dict[Numbers, str] = field(default_factory=dict)  # why no image can be made; empty: one can

    def fault(self, row: PromptRow) -> str:
        own = tuple(pair for pair in row.overrides if pair[0] in _NUMBERS)
        if own not in self.faults:
            self.faults[own] = self._look_at(dict(own))
        return self.faults[own]

    def _look_at(self, own: Mapping[str, Any]) -> str:
        sampling, model = replace(self.item.cell.sampling, **own), self.item.model
        if model.plug_in:
            return model.plug_in.size_fault(sampling.height, sampling.width) or ""
        try:
            check_numbers(sampling, model, "its ")
        except DarkroomError as error:
            return str(error)
        change = resized((sampling.height, sampling.width), model)
        self.resized |= {change: None} if change else {}
        return ""


def row_numbers(cells: Sequence[CheckedCell], scan: PromptScan) -> dict[str, RowNumbers]:
    """By cell_id, of the cells in which a row may have numbers that do not fit."""
    return {item.cell.cell_id: RowNumbers(item) for item in cells if _may_misfit(item, scan)}


def _may_misfit(item: CheckedCell, scan: PromptScan) -> bool:
    own, model = scan.num_overriding.keys(), item.model
    if model.plug_in:
        return bool(model.plug_in.description.sizes and own & {*SIZE})
    if (own & {*SIZE} and not makes_all_sizes(model)) or (own & {*_OF_REFINERS} and model.identity.refiner):
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
