"""Which shards are left to do: a pure function of the dataset's size, the cells and what is committed."""

from collections.abc import Container, Iterator, Sequence

from darkroom.domain.cells import Shard


def plan(
    num_rows: int, shard_size: int, cell_ids: Sequence[str], fingerprint: str, committed: Container[str] = ()
) -> Iterator[Shard]:
    """Shards that are not committed, range by range and cell by cell within a range.

    This order lets a worker reuse the text embeddings of a range in the next cell.
    """
    for start in range(0, num_rows, shard_size):
        stop = min(start + shard_size, num_rows)
        for cell_id in cell_ids:
            shard = Shard(cell_id, fingerprint, start, stop)
            if shard.shard_id not in committed:
                yield shard


def num_shards(num_rows: int, shard_size: int) -> int:
    """Of one cell."""
    return -(-num_rows // shard_size)
