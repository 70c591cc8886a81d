"""How fast a run grows, as when its manifests were written tells: whoever renders it, wherever."""

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


class Commits:
    """Shards as they are found, in any order; in memory are those of the last ten minutes alone."""

    def __init__(self) -> None:
        self.last: datetime | None = None
        self._recent: list[tuple[datetime, int]] = []  # when a manifest was written last, and its prompt rows
        self._room = 1000

    def add(self, shard: Shard, written: datetime) -> None:
        self.last = written if self.last is None else max(self.last, written)
        self._recent.append((written, shard.num_rows))
        if len(self._recent) > self._room:
            self._recent = self._of_last_minutes()
            self._room = max(self._room, 2 * len(self._recent))

    def _of_last_minutes(self) -> list[tuple[datetime, int]]:
        return [(at, rows) for at, rows in self._recent if self.last and at >= self.last - _RECENT]

    def __add__(self, other: "Commits") -> "Commits":
        both = Commits()
        both.last = max((each.last for each in (self, other) if each.last), default=None)
        both._recent = self._recent + other._recent
        return both

    @property
    def pace(self) -> Pace:
        """The first of the recent commits only starts the clock: when its rows were begun is not known."""
        recent = self._of_last_minutes()
        if self.last is None or not recent:
            return Pace()
        first = min(at for at, _ in recent)
        seconds = (self.last - first).total_seconds()
        rows = sum(rows for at, rows in recent if at > first)
        return Pace(self.last, rows / seconds if seconds > 0 else None)
