"""Reads of a run's shards on workers, handed on in their order."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.engine.dispatcher import LocalDispatcher
from darkroom.engine.reading import ReaderSpec, ReadRefused, read_in_order
from darkroom.engine.tasks import AttemptStarted, Event, ReadTask
from darkroom.storage.store import Store, StoreSpec, parse_spec


def square(store: Store, number: int, seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return number * number


def refused(store: Store) -> None:
    raise DarkroomError("shard 3: not readable; remove it")


def broken(store: Store) -> None:
    raise OSError("the disk is away")


@pytest.fixture
def spec(tmp_path: Path) -> StoreSpec:
    return parse_spec(str(tmp_path))


def read(spec: StoreSpec, reads: Iterator[Any], most_ahead: int = 100, listen=lambda event: None) -> list[Any]:
    found: list[Any] = []
    tasks = (ReadTask("a span", 1, each) for each in reads)
    dispatcher = LocalDispatcher(ReaderSpec(spec, "measuring"), max_attempts=2)
    read_in_order(dispatcher, tasks, found.append, listen, lambda _: most_ahead)
    return found


def test_what_is_found_early_waits_for_what_comes_before_it(spec: StoreSpec) -> None:
    reads = (partial(square, number=number, seconds=0.1 if number == 0 else 0.0) for number in range(8))
    assert read(spec, reads) == [number * number for number in range(8)]


def test_no_more_is_begun_ahead_than_may_wait(spec: StoreSpec) -> None:
    begun: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, AttemptStarted):
            begun.append(time.monotonic())

    reads = (partial(square, number=number, seconds=0.3 if number == 0 else 0.0) for number in range(6))
    assert len(read(spec, reads, 3, listen)) == 6
    assert sum(at - begun[0] < 0.25 for at in begun) == 3  # the first, and two that end at once


def test_what_a_person_has_to_mend_ends_it_and_what_may_pass_is_tried_again(spec: StoreSpec) -> None:
    with pytest.raises(ReadRefused, match="shard 3: not readable; remove it"):
        read(spec, iter([partial(square, number=1), refused]))
    with pytest.raises(TryAgain, match="a span: OSError: the disk is away; the same command goes on"):
        read(spec, iter([broken, partial(square, number=1)]))
