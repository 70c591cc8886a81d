"""How fast a run grows, as when its manifests were written tells: whoever renders it, wherever."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from darkroom.domain.identity import Shard

_RECENT = timedelta(minutes=10)


@dataclass(frozen=True)
class Pace:
    """Rows are prompt rows; those of several cells count once each."""

    last_commit: datetime | None = None  # UTC; None where nothing is committed
    rows_per_s: float | None = None  # over the last ten minutes of commits; None where too few tell

    def age_s(self, now: datetime) -> float | None:
        """Seconds since the last commit; a store's clock may be ahead of this machine's."""
        return None if self.last_commit is None else max(0.0, (now - self.last_commit).total_seconds())

    def left_s(self, num_rows: int) -> float | None:
        """Seconds that so many rows take at this pace."""
        return num_rows / self.rows_per_s if self.rows_per_s else None


def pace(written: Mapping[Shard, datetime]) -> Pace:
    """Of committed shards, each with when its manifest was written last.

    The first of the recent commits only starts the clock: when its rows were begun is not known.
    """
    if not written:
        return Pace()
    last = max(written.values())
    recent = {shard: at for shard, at in written.items() if at >= last - _RECENT}
    first = min(recent.values())
    seconds = (last - first).total_seconds()
    rows = _rows(shard for shard, at in recent.items() if at > first)
    return Pace(last, rows / seconds if seconds > 0 else None)


def _rows(shards: Iterable[Shard]) -> int:
    return sum(shard.num_rows for shard in shards)
