"""How fast a run grows, by when its manifests were written."""

from datetime import UTC, datetime, timedelta

import pytest

from darkroom.domain.identity import Shard
from darkroom.engine.planning import plan
from darkroom.runs.reading import Commits, Pace

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SHARDS = list(plan(100, 10, ["cell"], "fingerprint"))


def pace(written: dict[Shard, datetime]) -> Pace:
    commits = Commits()
    for shard, at in written.items():
        commits.add(shard, at)
    return commits.pace


def test_nothing_committed_says_nothing() -> None:
    assert pace({}) == Pace()
    assert Pace().age_s(NOON) is None
    assert Pace().left_s(10) is None


def test_one_commit_tells_its_age_and_no_pace() -> None:
    found = pace({SHARDS[0]: NOON})
    assert found.age_s(NOON + timedelta(seconds=30)) == 30
    assert found.age_s(NOON - timedelta(seconds=30)) == 0  # the store's clock is ahead
    assert found.left_s(10) is None


def test_the_pace_is_of_the_last_ten_minutes() -> None:
    old = {SHARDS[0]: NOON - timedelta(hours=5), SHARDS[1]: NOON - timedelta(hours=4)}
    recent = {shard: NOON + timedelta(seconds=20 * number) for number, shard in enumerate(SHARDS[2:6])}
    found = pace(old | recent)
    assert found.rows_per_s == pytest.approx(30 / 60)
    assert found.left_s(40) == pytest.approx(80)
    assert found.last_commit == NOON + timedelta(seconds=60)


def test_only_the_last_minutes_are_held_however_many_shards_there_are() -> None:
    early, late = Commits(), Commits()
    for number, shard in enumerate(plan(5000, 1, ["cell"], "fingerprint")):
        (early if number < 2500 else late).add(shard, NOON + timedelta(seconds=10 * number))
    assert len(late._recent) <= 1000
    assert late.pace == (early + late).pace == (late + early).pace == Pace(NOON + timedelta(seconds=49990), 0.1)
