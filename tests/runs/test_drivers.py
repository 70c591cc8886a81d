"""Commands that render one run at once know of each other, by files in its store."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.engine.planning import plan
from darkroom.runs import drivers
from darkroom.runs.drivers import Driver
from darkroom.runs.listing import ShardSet
from darkroom.storage.store import Store, open_store, parse_spec
from tests.processes import wait_for

SHARDS = list(plan(400, 1, ["cell"], "fingerprint"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(parse_spec(str(tmp_path)))


def files(store: Store) -> list[str]:
    return [info.key for info in store.list("drivers/")]


def test_one_driver_owns_all_and_leaves_nothing(store: Store) -> None:
    with Driver(store, "1of1") as driver:
        assert all(map(driver.owns, SHARDS))
        assert len(files(store)) == 1
    assert files(store) == []


def test_what_another_driver_committed_is_not_rendered_again(store: Store) -> None:
    with Driver(store, "1of1", lambda: set(SHARDS)) as alone:
        assert all(map(alone.owns, SHARDS))  # nobody else was seen: nothing is asked
        with Driver(store, "1of1", lambda: set(SHARDS)) as second:
            assert not any(map(second.owns, SHARDS))


def test_what_ends_a_job_elsewhere_ends_no_driver(store: Store) -> None:
    def committed() -> ShardSet:
        raise DarkroomError("a shard of another run")

    with Driver(store, "1of1"), Driver(store, "1of1", committed) as second:
        assert any(map(second.owns, SHARDS))
    assert files(store) == []


def test_two_drivers_have_half_each_and_no_shard_twice(store: Store) -> None:
    with Driver(store, "1of1") as first, Driver(store, "1of1") as second:
        first._look()
        own = [{shard for shard in SHARDS if driver.owns(shard)} for driver in (first, second)]
    assert own[0] | own[1] == set(SHARDS)
    assert not own[0] & own[1]
    assert 150 < len(own[0]) < 250


def test_of_three_drivers_each_shard_has_one_that_helps_first(store: Store) -> None:
    with Driver(store, "1of1") as first, Driver(store, "1of1") as second, Driver(store, "1of1") as third:
        for driver in (first, second):
            driver._look()
        drivers_of = [[driver for driver in (first, second, third) if driver.helps(shard)] for shard in SHARDS]
        owners = [next(driver for driver in (first, second, third) if driver.owns(shard)) for shard in SHARDS]
    assert all(len(found) == 2 and owner in found for found, owner in zip(drivers_of, owners, strict=True))


def test_drivers_of_other_parts_share_nothing(store: Store) -> None:
    with Driver(store, "1of2"), Driver(store, "2of2") as second:
        assert all(map(second.owns, SHARDS))


def test_a_driver_that_comes_later_is_noticed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "LOOK_EVERY_S", 0.02)
    with Driver(store, "1of1") as first:
        assert all(map(first.owns, SHARDS))
        with Driver(store, "1of1"):
            wait_for(lambda: not all(map(first.owns, SHARDS)))
        wait_for(lambda: all(map(first.owns, SHARDS)))


def left_behind(store: Store, pid: int, host: str = os.uname().nodename) -> str:
    store.put("drivers/1of1-0123.json", json.dumps({"host": host, "pid": pid}).encode())
    return "drivers/1of1-0123.json"


def test_a_process_of_this_machine_that_ended_is_no_driver(store: Store) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left_behind(store, ended.pid)
    with Driver(store, "1of1") as driver:
        assert all(map(driver.owns, SHARDS))
    assert files(store) == []


def test_a_driver_elsewhere_that_is_silent_for_long_is_none(store: Store, tmp_path: Path) -> None:
    key = left_behind(store, 1, "another-machine")
    with Driver(store, "1of1") as driver:
        assert not all(map(driver.owns, SHARDS))
    assert files(store) == [key]  # it may live
    then = time.time() - 1000
    os.utime(tmp_path / key, (then, then))
    with Driver(store, "1of1") as driver:
        assert all(map(driver.owns, SHARDS))
    assert files(store) == []


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"host": 1, "pid": "x"}'])
def test_a_file_that_says_nothing_is_taken_for_a_driver(store: Store, content: bytes) -> None:
    store.put("drivers/1of1-0123.json", content)
    with Driver(store, "1of1") as driver:
        assert not all(map(driver.owns, SHARDS))
