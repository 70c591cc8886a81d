"""Repeats found by way of a disk: as many runs, chunks and parts as a hundred million rows would make, of a few."""

import tempfile
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.domain.errors import DarkroomError
from darkroom.prompts import ids, repeats
from darkroom.prompts.repeats import RepeatedRows, RepeatFinder
from tests.prompts.reading import ids as ids_of


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "RUN_RECORDS", 5)
    monkeypatch.setattr(repeats, "CHUNK_RECORDS", 3)
    monkeypatch.setattr(repeats, "IN_MEMORY_BYTES", 16)
    monkeypatch.setattr(repeats, "PARTITION_ROWS", 4)
    monkeypatch.setattr(repeats, "NUM_KEY_PARTITIONS", 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=80), st.integers(1, 30))
@pytest.mark.usefixtures("tiny")
def test_every_later_row_knows_its_count_and_its_first(said: list[int], block: int) -> None:
    found = collected(said, block)
    rows = defaultdict(list)
    expected = {}
    for row, text in enumerate(said):
        if rows[text]:
            expected[row] = (len(rows[text]), rows[text][0])
        rows[text].append(row)
    assert found.within(0, len(said)) == expected
    assert len(found) == len(expected)
    for start in range(0, len(said), block):
        stop = min(start + block, len(said))
        assert found.within(start, stop) == {row: each for row, each in expected.items() if start <= row < stop}


@pytest.mark.usefixtures("tiny")
def test_names_are_the_same_by_way_of_a_disk() -> None:
    said = [f"{number % 7}" for number in range(40)]
    assert ids_of(*said) == [ids.row_digest(prompt, {}, said[:row].count(prompt)) for row, prompt in enumerate(said)]


def test_what_is_said_cannot_be_forged() -> None:
    """Rows that say other things keep their own names, whatever their texts hold."""
    prompts = ["a", "seed=1;|a", "|a", "#a", "a", "a", "b;|a"]
    negative = [None, None, None, None, "", "x", None]
    assert len(set(ids_of(*prompts, negative_prompt=negative))) == 7
    given = ids_of("a", "b", "a", prompt_id=["|a", None, None])
    assert given[0] == "|a"
    assert given[2] == ids.row_digest("a", {})


def test_a_disk_without_room_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "RUN_RECORDS", 1)
    monkeypatch.setattr(repeats, "IN_MEMORY_BYTES", 1)
    with open("/dev/full", "w+b", buffering=0) as full:  # noqa: PTH123 - the device on which there is no room
        monkeypatch.setattr(tempfile, "SpooledTemporaryFile", lambda max_size: full)
        with pytest.raises(DarkroomError, match=r"no room .* set TMPDIR"):
            collected([1, 2, 3], 1)


def collected(said: list[int], block: int) -> RepeatedRows:
    finder, later = RepeatFinder(), RepeatedRows(len(said))
    for start in range(0, len(said), block):
        part = said[start : start + block]
        finder.add(ids.keyed(np.arange(start, start + len(part)), [str(text).encode() for text in part]))
    for each in finder.repeated():
        later.add(each)
    return later
