"""Which rows have a key that an earlier row has: found on a disk, in memory that does not grow with the rows.

Keys are 128 bits of a digest, so equal keys mean equal names. Records are partitioned by key (external hashing), and
what is found by row, each partition small enough to be sorted in memory.
"""

import tempfile
from collections.abc import Iterable, Iterator

import numpy as np

from darkroom.domain.errors import DarkroomError

KEYED = np.dtype([("high", np.uint64), ("low", np.uint64), ("row", np.int64)])
REPEATED = np.dtype([("row", np.int64), ("count", np.int64), ("first", np.int64)])
_COUNTED = np.dtype([*KEYED.descr, ("count", np.int64)])  # how many rows have the key; `row` is the first of them

NUM_KEY_PARTITIONS = 256  # of 9 MB each for a hundred million rows
PARTITION_ROWS = 1 << 20  # of 25 MB each where every row is a repeat
RUN_RECORDS = 1 << 18  # sorted by partition and written at once
CHUNK_RECORDS = 1 << 20  # read at once
IN_MEMORY_BYTES = 8 << 20  # up to which no disk is touched


class RepeatFinder:
    """Takes the keys of rows in order; tells afterwards which were there before."""

    def __init__(self) -> None:
        self._partitions = Partitions(KEYED, NUM_KEY_PARTITIONS)

    def add(self, records: np.ndarray) -> None:
        """KEYED records (N), rows ascending over all calls."""
        self._partitions.add((records["high"] % NUM_KEY_PARTITIONS).astype(np.uint16), records)

    def repeated(self) -> Iterator[np.ndarray]:
        """REPEATED records, some at a time."""
        for partition in range(NUM_KEY_PARTITIONS):
            yield from _repeated(self._partitions.chunks(partition))


class RepeatedRows:
    """The rows that are not the first of their name: for each, how many earlier ones there are, and the first."""

    def __init__(self, num_rows: int) -> None:
        self._partitions = Partitions(REPEATED, num_rows // PARTITION_ROWS + 1)
        self._cached = (-1, np.empty(0, REPEATED))  # the partition that was read last, and its records

    def __len__(self) -> int:
        return len(self._partitions)

    def add(self, repeated: np.ndarray) -> None:
        """REPEATED records (N), in any order."""
        self._partitions.add(repeated["row"] // PARTITION_ROWS, repeated)

    def within(self, start: int, stop: int) -> dict[int, tuple[int, int]]:
        """Dataset row -> (count, first row) for the range [start, stop), in order of rows."""
        if not len(self):
            return {}
        parts = [self._sorted(number) for number in range(start // PARTITION_ROWS, (stop - 1) // PARTITION_ROWS + 1)]
        found = np.concatenate([part[slice(*np.searchsorted(part["row"], [start, stop]))] for part in parts])
        return {row: (count, first) for row, count, first in found.tolist()}

    def _sorted(self, partition: int) -> np.ndarray:
        number, records = self._cached
        if partition != number:
            records = np.concatenate([np.empty(0, REPEATED), *self._partitions.chunks(partition)])
            records = records[np.argsort(records["row"])]
            self._cached = (partition, records)
        return records


class Partitions:
    """Fixed-size records that are many more than memory holds: added in any order, read back partition by partition.

    They wait in one file without a name, so nothing of it is left however the process ends. Memory holds one run of
    records on the way out and one chunk on the way back; a partition keeps the order in which its records came.
    """

    def __init__(self, kind: np.dtype, num_partitions: int) -> None:
        self._kind = kind
        self._num_partitions = num_partitions
        self._buffer: list[tuple[np.ndarray, np.ndarray]] = []  # (partition of each record, records)
        self._num_buffered = self._num_written = 0
        self._runs: list[np.ndarray] = []  # of each: where in the file every partition begins, and the last one ends
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - lives as long as this

    def __len__(self) -> int:
        return self._num_written + self._num_buffered

    def add(self, partitions: np.ndarray, records: np.ndarray) -> None:
        """Records (N) of this kind, and the partition (N) that each belongs to."""
        self._buffer.append((partitions, records))
        self._num_buffered += len(records)
        if self._num_buffered >= RUN_RECORDS:
            self._write_run()

    def chunks(self, partition: int) -> Iterator[np.ndarray]:
        """The records of a partition, a bounded number at a time."""
        if self._num_buffered:
            self._write_run()
        waiting, count = [], 0
        for run in self._runs:
            records = self._read(run[partition], run[partition + 1])
            waiting.append(records)
            count += len(records)
            if count >= CHUNK_RECORDS:
                yield np.concatenate(waiting)
                waiting, count = [], 0
        if count:
            yield np.concatenate(waiting)

    def _write_run(self) -> None:
        partitions = np.concatenate([partitions for partitions, _ in self._buffer])
        records = np.concatenate([records for _, records in self._buffer])
        order = np.argsort(partitions, kind="stable")
        try:
            self._file.seek(0, 2)
            self._file.write(records[order].tobytes())
        except OSError as error:
            raise DarkroomError(
                f"{tempfile.gettempdir()}: no room to find repeated prompts ({error.strerror}; {len(self)} rows "
                f"took {len(self) * self._kind.itemsize / 1e6:.0f} MB so far); set TMPDIR to a folder on a larger disk"
            ) from error
        offsets = np.searchsorted(partitions[order], np.arange(self._num_partitions + 1))
        self._runs.append(self._num_written + offsets)
        self._num_written += len(records)
        self._buffer, self._num_buffered = [], 0

    def _read(self, start: int, stop: int) -> np.ndarray:
        self._file.seek(int(start) * self._kind.itemsize)
        return np.frombuffer(self._file.read(int(stop - start) * self._kind.itemsize), self._kind)


def _repeated(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Of one partition, however many rows share a key: from chunk to chunk one record a key is remembered."""
    known = np.empty(0, _COUNTED)
    for chunk in chunks:
        fresh = np.ones(len(chunk), _COUNTED)
        for name in chunk.dtype.names or ():
            fresh[name] = chunk[name]
        known, repeated = _grouped(np.concatenate([known, fresh]))
        yield repeated


def _grouped(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One record a key, and REPEATED ones of those that are not the first; in `records`, earlier rows come first."""
    records = records[np.lexsort((records["low"], records["high"]))]
    is_first = np.ones(len(records), bool)
    is_first[1:] = (records["high"][1:] != records["high"][:-1]) | (records["low"][1:] != records["low"][:-1])
    groups = np.flatnonzero(is_first)
    sizes = np.diff(groups, append=len(records))
    before = np.cumsum(records["count"]) - records["count"]
    before -= np.repeat(before[groups], sizes)
    repeated = np.empty(len(records), REPEATED)
    repeated["row"], repeated["count"] = records["row"], before
    repeated["first"] = np.repeat(records["row"][groups], sizes)
    known = records[groups]
    known["count"] = np.add.reduceat(records["count"], groups) if len(groups) else 0
    return known, repeated[~is_first]
