"""Rows of a dataset in another order than its own."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from darkroom.prompts.dataset import BLOCK_ROWS, PromptBlock, PromptDataset


def ordered_rows(dataset: PromptDataset, order: np.ndarray) -> Iterator[PromptBlock]:
    """The dataset's rows of these numbers (n,), in that order; a block's `start` counts them from 0.

    Numbers that rise are read in one pass and flat memory. For any others, their rows are held in memory.
    """
    if (np.diff(order) > 0).all():
        yield from _rising(dataset, order)
        return
    held = list(_rising(dataset, np.sort(order)))
    rows = [row for block in held for row in block.rows]
    extras = pa.concat_tables([block.extras for block in held])
    places = np.argsort(np.argsort(order))  # among the sorted ones
    for start in range(0, len(order), BLOCK_ROWS):
        some = places[start : start + BLOCK_ROWS]
        yield PromptBlock(start, [rows[place] for place in some.tolist()], extras.take(some))


def _rising(dataset: PromptDataset, numbers: np.ndarray) -> Iterator[PromptBlock]:
    done = 0
    for block in dataset.blocks(int(numbers[0])) if len(numbers) else ():
        stop = int(np.searchsorted(numbers, block.start + len(block.rows)))
        positions = numbers[done:stop] - block.start
        if len(positions):
            yield PromptBlock(done, [block.rows[each] for each in positions.tolist()], block.extras.take(positions))
        done = stop
        if done == len(numbers):
            return
