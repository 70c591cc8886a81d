"""Rates out of commits: what was loading, filling or the tail does not count."""

import pytest

from darkroom.bench.log import Commit, steady, whole
from darkroom.domain.errors import DarkroomError

# `slow` is ready late, and ends early.
COMMITS = [Commit("fast", float(at), 4) for at in range(1, 11)] + [Commit("slow", float(at), 4) for at in (4, 6, 8)]


def test_steady_adds_up_the_workers_while_all_are_busy() -> None:
    found = steady(COMMITS)
    assert found.rate == pytest.approx(4.0 + 2.0)  # an image in 1/4 s, and one in 1/2 s
    assert found.count == 16 + 8


def test_whole_counts_what_came_after_the_last_worker_was_warm() -> None:
    assert whole(COMMITS) == whole(COMMITS[::-1])
    assert (whole(COMMITS).count, whole(COMMITS).seconds) == (6 * 4 + 2 * 4, 6.0)
    assert whole(COMMITS, end_s=12.0).seconds == 8.0


@pytest.mark.parametrize("rate", [steady, whole])
def test_too_little_work_says_so(rate: object) -> None:
    with pytest.raises(DarkroomError, match="larger scale"):
        rate([Commit("one", 1.0, 4), Commit("two", 2.0, 4)])  # type: ignore[operator]
