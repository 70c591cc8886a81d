"""A benchmark's result: one ratio a repeat, what it should reach, and the seconds that it was computed from. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

Timings = Mapping[str, Sequence["Timing"]]  # variant -> one a repeat


@dataclass(frozen=True)
class Timing:
    """So many things in so many seconds."""

    count: float
    seconds: float

    @property
    def rate(self) -> float:
        """Things a second."""
        return self.count / self.seconds


@dataclass(frozen=True)
class Reach:
    """What a figure should be."""

    bound: float
    at_least: bool = True  # else at most

    def holds(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"


@dataclass(frozen=True)
class Figure:
    """What was measured, how, and how it came out."""

    name: str
    what: str  # in words: which time over which
    unit: str
    values: Sequence[float] = ()  # one a repeat; none where it was skipped
    reach: Reach | None = None
    timings: Timings = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    skipped: str | None = None  # why

    @property
    def value(self) -> float | None:
        """The median of the repeats."""
        return median(self.values) if self.values else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """The lowest and the highest of the repeats."""
        return (min(self.values), max(self.values)) if self.values else None

    @property
    def reached(self) -> bool | None:
        """None where there is nothing to reach, or nothing was measured."""
        return None if self.value is None or self.reach is None else self.reach.holds(self.value)


def ratios(numerator: Sequence[Timing], denominator: Sequence[Timing]) -> list[float]:
    """Of the rates, repeat by repeat: what slows a machine for a while slows both of a pair."""
    return [above.rate / below.rate for above, below in zip(numerator, denominator, strict=True)]
