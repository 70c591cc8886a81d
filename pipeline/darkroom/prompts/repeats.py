"""Which rows have a key that an earlier row has: found on a disk, in memory that does not grow with the rows.

Keys are 128 bits of a digest, so equal keys mean equal names. Knows keys and rows; knows neither prompts nor files.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from darkroom.prompts.spill import Spill

KEYED = np.dtype([("high", np.uint64), ("low", np.uint64), ("row", np.int64)])
LATER = np.dtype([("row", np.int64), ("count", np.int64), ("first", np.int64)])
_COUNTED = np.dtype([*KEYED.descr, ("count", np.int64)])  # how many rows have the key; `row` is the first of them

_KEY_PARTS = 256  # of 9 MB each for a hundred million rows
ROWS_A_PART = 1 << 20  # of 25 MB each where every row is a later one


class Later:
    """The rows that are not the first of their name: for each, how many earlier ones there are, and the first."""

    def __init__(self, num_rows: int) -> None:
        self._spill = Spill(LATER, num_rows // ROWS_A_PART + 1)
        self._part = -1  # that is held
        self._held = np.empty(0, LATER)

    def __len__(self) -> int:
        return len(self._spill)

    def add(self, later: np.ndarray) -> None:
        self._spill.add(later["row"] // ROWS_A_PART, later)

    def within(self, start: int, stop: int) -> dict[int, tuple[int, int]]:
        """Dataset row -> (count, first row) for the range [start, stop), in order of rows."""
        if not len(self):
            return {}
        parts = [self._sorted(part) for part in range(start // ROWS_A_PART, (stop - 1) // ROWS_A_PART + 1)]
        found = np.concatenate([part[slice(*np.searchsorted(part["row"], [start, stop]))] for part in parts])
        return {row: (count, first) for row, count, first in found.tolist()}

    def _sorted(self, part: int) -> np.ndarray:
        if part != self._part:
            records = np.concatenate([np.empty(0, LATER), *self._spill.chunks(part)])
            self._part, self._held = part, records[np.argsort(records["row"])]
        return self._held


class Repeats:
    """Takes the keys of rows in order; tells afterwards which were there before."""

    def __init__(self) -> None:
        self._spill = Spill(KEYED, _KEY_PARTS)

    def add(self, records: np.ndarray) -> None:
        """KEYED records (N), rows ascending over all calls."""
        self._spill.add((records["high"] % _KEY_PARTS).astype(np.uint16), records)

    def later(self) -> Iterator[np.ndarray]:
        """LATER records, part by part."""
        return (later for part in range(_KEY_PARTS) for later in _later(self._spill.chunks(part)))


def _later(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """One part, however many rows share a key: what is kept from chunk to chunk is one record a key."""
    known = np.empty(0, _COUNTED)
    for chunk in chunks:
        fresh = np.ones(len(chunk), _COUNTED)
        for name in chunk.dtype.names or ():
            fresh[name] = chunk[name]
        known, later = _joined(np.concatenate([known, fresh]))
        yield later


def _joined(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One record a key, and the records that are not the first of theirs; earlier ones come first in `records`."""
    records = records[np.lexsort((records["low"], records["high"]))]
    is_first = np.ones(len(records), bool)
    is_first[1:] = (records["high"][1:] != records["high"][:-1]) | (records["low"][1:] != records["low"][:-1])
    groups = np.flatnonzero(is_first)
    sizes = np.diff(groups, append=len(records))
    before = np.cumsum(records["count"]) - records["count"]
    before -= np.repeat(before[groups], sizes)
    later = np.empty(len(records), LATER)
    later["row"], later["count"], later["first"] = records["row"], before, np.repeat(records["row"][groups], sizes)
    known = records[groups]
    known["count"] = np.add.reduceat(records["count"], groups) if len(groups) else 0
    return known, later[~is_first]
