"""Ranges of a prompt dataset's rows, whatever blocks they are read in."""

from collections.abc import Iterator

import pyarrow as pa

from darkroom.domain.records import PromptRow
from darkroom.prompts.dataset import PromptBlock


class RowWindow:
    """The part of a stream of blocks that the current range of rows can see; ranges come in order."""

    def __init__(self, blocks: Iterator[PromptBlock]) -> None:
        self._blocks = blocks
        self._held: list[PromptBlock] = []

    def rows(self, start: int, stop: int) -> tuple[list[PromptRow], pa.Table]:
        self._held = [block for block in self._held if _stop(block) > start]
        while not self._held or _stop(self._held[-1]) < stop:
            block = next(self._blocks)
            if _stop(block) > start:
                self._held.append(block)
        parts = [_cut(block, start, stop) for block in self._held if block.start < stop]
        return [row for part in parts for row in part.rows], pa.concat_tables(part.extras for part in parts)


def _stop(block: PromptBlock) -> int:
    return block.start + len(block.rows)


def _cut(block: PromptBlock, start: int, stop: int) -> PromptBlock:
    first, last = max(start - block.start, 0), min(stop - block.start, len(block.rows))
    return PromptBlock(block.start + first, block.rows[first:last], block.extras.slice(first, last - first))
