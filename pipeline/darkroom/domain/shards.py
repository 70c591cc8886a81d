"""A shard: a contiguous range of prompt rows in one cell, the unit of scheduling, of commit and of resume."""

from dataclasses import dataclass

from darkroom.domain import identity


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows [start, stop) of a prompt dataset in one cell, planned or committed.

    `shard_id` is a digest of the other three and of the dataset's fingerprint: `planned_shard` makes it, and a
    manifest's key says it.
    """

    cell_id: str
    start: int
    stop: int
    shard_id: str

    @property
    def num_rows(self) -> int:
        return self.stop - self.start


def planned_shard(cell_id: str, fingerprint: str, start: int, stop: int) -> Shard:
    """The shard of these rows of the dataset with this fingerprint; a relaunch finds the same one."""
    return Shard(cell_id, start, stop, identity.shard_id(cell_id, fingerprint, start, stop))
