"""Which shards of a run, in a byte each: their names would take hundreds."""

from collections.abc import Container, Iterable

from darkroom.domain.identity import Shard


class ShardSet(Container[Shard]):
    """Shards of one run, which has one in each cell for each range of `shard_size` rows."""

    def __init__(self, shard_size: int, shards: Iterable[Shard] = ()) -> None:
        self.num_rows = 0
        self._shard_size = shard_size
        self._there: dict[str, bytearray] = {}  # by cell_id: 1 where the shard of this number is in it
        for shard in shards:
            self.add(shard)

    def add(self, shard: Shard) -> None:
        there, number = self._there.setdefault(shard.cell_id, bytearray()), shard.start // self._shard_size
        if number >= len(there):
            there.extend(bytes(max(number + 1 - len(there), len(there))))
        self.num_rows += 0 if there[number] else shard.num_rows
        there[number] = 1

    def __contains__(self, shard: object) -> bool:
        assert isinstance(shard, Shard)
        there, number = self._there.get(shard.cell_id, b""), shard.start // self._shard_size
        return number < len(there) and bool(there[number])

    def __len__(self) -> int:
        return sum(map(self.count, self._there))

    def num_outside(self, *others: "ShardSet") -> int:
        """How many are in none of these."""
        count = 0
        for cell_id, there in self._there.items():
            left = int.from_bytes(there, "little")
            for other in others:
                left &= ~int.from_bytes(other._there.get(cell_id, b""), "little")
            count += left.bit_count()
        return count

    def count(self, cell_id: str) -> int:
        """Of one cell."""
        return self._there.get(cell_id, b"").count(1)
