"""A shard: a contiguous range of prompt rows in one cell, the unit of scheduling, of commit and of resume."""

from dataclasses import dataclass

from darkroom.domain import identity


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows [start, stop) of the dataset with this fingerprint, in this cell."""

    cell_id: str
    fingerprint: str  # of the prompt dataset
    start: int
    stop: int

    @property
    def shard_id(self) -> str:
        return identity.shard_id(self.cell_id, self.fingerprint, self.start, self.stop)

    @property
    def num_rows(self) -> int:
        return self.stop - self.start
