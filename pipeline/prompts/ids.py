"""Prompt ids: what names a row when its file does not, and which rows say the same.

A row without an id is named by what it says, so that the order of rows never changes an image; rows that say the same
are told apart by their occurrence. Finding them costs eight bytes a row: equal hashes make candidates, and only those
are compared by their digests. Knows checked columns; reads nothing itself.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import pyarrow as pa

from pipeline.domain.identity import digest
from pipeline.prompts.checks import Checked
from pipeline.prompts.columns import OVERRIDES


@dataclass(frozen=True)
class Occurrences:
    """Which rows are not the first of their name, kept sparsely."""

    rows: np.ndarray  # sorted dataset rows
    counts: np.ndarray  # how many earlier rows have the same name
    firsts: np.ndarray  # the first of them

    def within(self, start: int, stop: int) -> dict[int, tuple[int, int]]:
        """Dataset row -> (count, first row) for the range [start, stop)."""
        low, high = np.searchsorted(self.rows, [start, stop])
        part = slice(low, high)
        pairs = zip(self.counts[part].tolist(), self.firsts[part].tolist(), strict=True)
        return dict(zip(self.rows[part].tolist(), pairs, strict=True))


def row_digest(prompt: str, said: Mapping[str, object], occurrence: int = 0) -> str:
    """Name of a row by what it says: its prompt and the settings that it overrides."""
    return digest("prompt", prompt, dict(said), *([occurrence] if occurrence else []))


def invalid_digest(row: int, prompt: str) -> str:
    """Name of a row that cannot be rendered: its place counts, since it may say nothing at all."""
    return digest("invalid prompt", row, prompt)


def sayings(checked: Checked, positions: Sequence[int] | None = None) -> Iterator[tuple[str, dict[str, object]]]:
    """Prompt and overriding values of rows (all, or those at `positions`), nulls left out."""
    columns = {name: array for name, array in checked.columns.items() if name != "prompt_id"}
    if positions is not None:
        taken = pa.array(positions, pa.int64())
        columns = {name: array.take(taken) for name, array in columns.items()}
    prompts = columns.pop("prompt").to_pylist()
    named = [(name, array.to_pylist()) for name, array in columns.items() if array.null_count < len(array)]
    for row, prompt in enumerate(prompts):
        yield prompt or "", {name: cells[row] for name, cells in named if cells[row] is not None}


def given_ids(checked: Checked) -> list[str | None]:
    if "prompt_id" not in checked.columns:
        return [None] * len(checked)
    return checked.columns["prompt_id"].to_pylist()


def row_hashes(start: int, checked: Checked) -> np.ndarray:
    """An int64 for each row: rows of one name have equal hashes in this process, and others nearly always differ."""
    size = len(checked)
    hashes = _hashes(checked.columns["prompt"])
    for name in OVERRIDES:
        array = checked.columns.get(name)
        if array is not None and array.null_count < size:
            pairs = zip(repeat(name), array.to_pylist(), strict=False)
            own = np.fromiter(map(hash, pairs), np.int64, size)
            hashes ^= np.where(array.is_null().to_numpy(zero_copy_only=False), 0, own)
    for position in checked.faults:
        hashes[position] = hash(("invalid", start + position))
    ids = checked.columns.get("prompt_id")
    if ids is not None and ids.null_count < size:
        hashes = np.where(ids.is_null().to_numpy(zero_copy_only=False), hashes, _hashes(ids))
    return hashes


def candidates(hashes: np.ndarray) -> np.ndarray:
    """Sorted positions of hashes that are there more than once."""
    ordered = np.sort(hashes)
    shared = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(shared):
        return np.empty(0, np.int64)
    nearest = np.minimum(np.searchsorted(shared, hashes), len(shared) - 1)
    return np.flatnonzero(shared[nearest] == hashes)


def key(name: str) -> bytes:
    """16 bytes that stand for a name."""
    return hashlib.sha256(name.encode()).digest()[:16]


def occurrences(rows: np.ndarray, keys: np.ndarray) -> Occurrences:
    """Rows (sorted) whose key (two uint64 each) an earlier row has too."""
    order = np.lexsort((rows, keys[:, 1], keys[:, 0]))
    rows, keys = rows[order], keys[order]
    new = np.ones(len(rows), bool)
    new[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    first = np.maximum.accumulate(np.where(new, np.arange(len(rows)), 0))  # position of each group's first
    later = np.flatnonzero(~new)
    by_row = later[np.argsort(rows[later], kind="stable")]
    return Occurrences(rows[by_row], by_row - first[by_row], rows[first[by_row]])


def _hashes(array: pa.Array) -> np.ndarray:
    return np.fromiter(map(hash, array.to_pylist()), np.int64, len(array))
