"""What a run's policy did with the images that were made: counted from committed records, for whoever tells of it."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from darkroom.domain.policy import read_rejected
from darkroom.domain.records import OK

POLICY_COLUMNS = ("status", "policy_reason", "policy_rejected")  # of a record, that it is counted from
_MOST_REASONS = 1000  # told apart


@dataclass
class PolicyCount:
    """Of some records."""

    num_accepted: int = 0  # images that are there
    num_rejected: int = 0  # images that were made and not kept
    reasons: Counter[str] = field(default_factory=Counter)  # why -> so many of these
    flagged: Counter[str] = field(default_factory=Counter)  # why accepted images might have been refused
    rejected_s: float = 0.0  # on the device, of those that were not kept

    @property
    def num_made(self) -> int:
        return self.num_accepted + self.num_rejected

    @property
    def share(self) -> float:
        """Accepted images, of those that were made; NaN where none was."""
        return self.num_accepted / self.num_made if self.num_made else math.nan

    def add(self, table: pa.Table) -> None:
        """Records with POLICY_COLUMNS at least."""
        statuses, reasons, rejected = (table[name].to_pylist() for name in POLICY_COLUMNS)
        self.num_accepted += statuses.count(OK)
        _count(self.flagged, filter(None, reasons))
        for text in filter(None, rejected):
            others = read_rejected(text)
            self.num_rejected += len(others)
            self.rejected_s += sum(each.render_s or 0.0 for each in others)
            _count(self.reasons, (each.reason for each in others))

    def __add__(self, other: "PolicyCount") -> "PolicyCount":
        return PolicyCount(
            self.num_accepted + other.num_accepted,
            self.num_rejected + other.num_rejected,
            self.reasons + other.reasons,
            self.flagged + other.flagged,
            self.rejected_s + other.rejected_s,
        )

    def __str__(self) -> str:
        """Such as "120 of 148 images that were made (81.1 %)"."""
        share = f" ({100 * self.share:.1f} %)" if self.num_made else ""
        return f"{self.num_accepted:,} of {self.num_made:,} images that were made{share}"

    def why(self) -> Iterator[str]:
        """The most frequent reasons first."""
        yield from (f"{count:,} x {reason}" for reason, count in self.reasons.most_common())
        yield from (f"{count:,} x {reason}, and kept" for reason, count in self.flagged.most_common())


def _count(counter: Counter[str], reasons: Iterable[str]) -> None:
    for reason in reasons:
        counter[reason if reason in counter or len(counter) < _MOST_REASONS else "other reasons"] += 1
