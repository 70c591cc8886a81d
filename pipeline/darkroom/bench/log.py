"""When workers became ready and when shards were committed, and rates out of that: loading and filling apart. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from darkroom.bench.figure import Timing
from darkroom.domain.errors import DarkroomError


@dataclass(frozen=True)
class Commit:
    """A shard that became visible."""

    worker: str
    at_s: float  # of one clock
    count: int  # images


def steady(commits: Sequence[Commit]) -> Timing:
    """The workers' rates while all of them were busy, added up: each from one of its commits to another.

    What counts lies between the last worker's first commit and the first worker's last one.
    """
    started, ended = _all_busy(commits)
    spans = [_span([each for each in of_one if started <= each.at_s <= ended]) for of_one in _by_worker(commits)]
    rates = [span.rate for span in spans if span.seconds > 0]
    if not rates:
        raise DarkroomError("bench: no worker committed two shards while all were busy; use a larger scale")
    count = sum(span.count for span in spans)
    return Timing(count, count / sum(rates))


def whole(commits: Sequence[Commit], end_s: float | None = None) -> Timing:
    """From when every worker had committed to the last commit, or to `end_s` where what was made lay there later."""
    started, _ = _all_busy(commits)
    ended = max(each.at_s for each in commits) if end_s is None else end_s
    count = sum(each.count for each in commits if each.at_s > started)
    if not count:
        raise DarkroomError("bench: nothing was committed after all workers had warmed up; use a larger scale")
    return Timing(count, ended - started)


def _by_worker(commits: Sequence[Commit]) -> list[list[Commit]]:
    names = dict.fromkeys(each.worker for each in commits)
    return [sorted((each for each in commits if each.worker == name), key=lambda each: each.at_s) for name in names]


def _all_busy(commits: Sequence[Commit]) -> tuple[float, float]:
    of_each = _by_worker(commits)
    return max(of_one[0].at_s for of_one in of_each), min(of_one[-1].at_s for of_one in of_each)


def _span(commits: Sequence[Commit]) -> Timing:
    """What the first commit holds was made before it."""
    if len(commits) < 2:
        return Timing(0, 0.0)
    return Timing(sum(each.count for each in commits[1:]), commits[-1].at_s - commits[0].at_s)
