"""Prompts looked at and written, without a model: how many there are, what they say, and some of their rows."""

from dataclasses import dataclass
from typing import Any

from darkroom.api.arguments import Prompts
from darkroom.api.events import Progress, PromptsWritten, Warned
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import PromptRow
from darkroom.prompts.dataset import PromptScan
from darkroom.prompts.writing import check_path, write_prompts


@dataclass(frozen=True)
class PromptRows:
    """What was found."""

    name: str
    scan: PromptScan
    rows: tuple[PromptRow, ...]  # those that were asked for
    extras: tuple[dict[str, Any], ...]  # of these, the columns that are not read


def look_at(prompts: Prompts, num_shown: int, start: int, write_to: str | None, progress: Progress) -> PromptRows:
    """Check all rows and give `num_shown` from row `start` on; with `write_to`, write all to that file."""
    if write_to is not None:
        check_path(write_to)
    scan = prompts.dataset.scan(1)
    if start >= scan.num_rows:
        raise DarkroomError(f"start={start}: there are {scan.num_rows:,} rows, from 0 on; give a smaller number")
    for text in scan.warnings:
        progress(Warned(text))
    block = next(prompts.dataset.blocks(start, num_shown)) if num_shown else None
    rows = tuple(block.rows) if block else ()
    extras = tuple(block.extras.to_pylist()) if block and block.extras.num_columns else ({},) * len(rows)
    if write_to is not None:
        progress(PromptsWritten(write_prompts(prompts.dataset, write_to), write_to))
    return PromptRows(prompts.name, scan, rows, extras)
