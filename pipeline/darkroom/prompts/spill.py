"""Records that are many more than memory holds: added in any order, read back part by part.

They wait in one file without a name, so nothing of it is left however the process ends. Memory holds one run of records
on the way out and one chunk on the way back. Knows nothing of prompts.
"""

import tempfile
from collections.abc import Iterator

import numpy as np

from darkroom.domain.errors import DarkroomError

RUN_RECORDS = 1 << 18  # sorted by part and written at once
CHUNK_RECORDS = 1 << 20  # read at once
_IN_MEMORY_BYTES = 8 << 20  # up to which no disk is touched


class Spill:
    """Fixed-size records in `num_parts` parts; a part keeps the order in which its records came."""

    def __init__(self, kind: np.dtype, num_parts: int) -> None:
        self._kind = kind
        self._num_parts = num_parts
        self._held: list[tuple[np.ndarray, np.ndarray]] = []
        self._num_held = self._num_written = 0
        self._runs: list[np.ndarray] = []  # of each: where in the file every part begins, and where the last one ends
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - lives as long as this

    def __len__(self) -> int:
        return self._num_written + self._num_held

    def add(self, parts: np.ndarray, records: np.ndarray) -> None:
        """Records (N) of the spill's kind, and the part (N) that each belongs to."""
        self._held.append((parts, records))
        self._num_held += len(records)
        if self._num_held >= RUN_RECORDS:
            self._write_run()

    def chunks(self, part: int) -> Iterator[np.ndarray]:
        """The records of a part, a bounded number at a time."""
        if self._num_held:
            self._write_run()
        waiting, count = [], 0
        for run in self._runs:
            records = self._read(run[part], run[part + 1])
            waiting.append(records)
            count += len(records)
            if count >= CHUNK_RECORDS:
                yield np.concatenate(waiting)
                waiting, count = [], 0
        if count:
            yield np.concatenate(waiting)

    def _write_run(self) -> None:
        parts = np.concatenate([parts for parts, _ in self._held])
        records = np.concatenate([records for _, records in self._held])
        order = np.argsort(parts, kind="stable")
        try:
            self._file.seek(0, 2)
            self._file.write(records[order].tobytes())
        except OSError as error:
            raise DarkroomError(
                f"{tempfile.gettempdir()}: no room to look for repeated prompts ({error.strerror}; {len(self)} rows "
                f"took {len(self) * self._kind.itemsize / 1e6:.0f} MB so far); set TMPDIR to a folder on a larger disk"
            ) from error
        self._runs.append(self._num_written + np.searchsorted(parts[order], np.arange(self._num_parts + 1)))
        self._num_written += len(records)
        self._held, self._num_held = [], 0

    def _read(self, start: int, stop: int) -> np.ndarray:
        self._file.seek(int(start) * self._kind.itemsize)
        return np.frombuffer(self._file.read(int(stop - start) * self._kind.itemsize), self._kind)
