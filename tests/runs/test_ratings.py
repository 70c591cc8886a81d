"""Studies and votes, stored with a run: what is read is what was written, and what is not votes is named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.runs.files import study_key
from darkroom.runs.ratings import (
    RatedCell,
    RatedImage,
    RatedPair,
    Study,
    Vote,
    VoteFile,
    check_once,
    parsed_votes,
    put_study,
    put_votes,
    read_study,
    stored_votes,
    study_ids,
)
from darkroom.storage.store import Store, open_store, parse_spec

CELLS = ("a" * 16, "b" * 16)


def image(cell: int, number: int) -> RatedImage:
    return RatedImage(CELLS[cell], f"{cell}{number}", f"sha{cell}{number}")


def study(num_pairs: int = 3) -> Study:
    pairs = [RatedPair(f"prompt {number}", image(0, number), image(1, number)) for number in range(num_pairs)]
    pairs.append(replace(pairs[0], left=pairs[0].right, right=pairs[0].left, repeats=0))
    return Study("Which?", tuple(RatedCell(cell, {"sampling.guidance_scale": 2.0}) for cell in CELLS), tuple(pairs))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(parse_spec(str(tmp_path)))


def test_a_study_is_read_as_it_was_written(store: Store) -> None:
    put_study(store, study())
    put_study(store, study())
    assert study_ids(store) == [study().study_id]
    assert read_study(store, study().study_id) == study()
    assert read_study(store, "0" * 16) is None
    assert study(4).study_id != study().study_id


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("prompt 1", "another", "not those that its name says"),
        ("left", "port", "not readable as a study"),
        ("{", "", "not r"),
    ],
)
def test_a_study_that_was_edited_is_named(store: Store, old: str, new: str, words: str) -> None:
    put_study(store, study())
    key = study_key(study().study_id)
    store.put(key, store.get(key).decode().replace(old, new).encode())
    with pytest.raises(DarkroomError, match=words):
        read_study(store, study().study_id)


def line(**fields: object) -> str:
    return json.dumps({"study": "0" * 16, "pair": 0, "choice": "left", "rater": "ann", "seconds": 1.5} | fields)


def test_votes_are_stored_whole_and_once(store: Store) -> None:
    data = "\n".join([line(), "", line(pair=1, choice="tie", seconds=None), line(study="1" * 16)]).encode()
    files = parsed_votes(b"\xef\xbb\xbf" + data, "v.jsonl")
    assert files[0] == VoteFile("v.jsonl", "0" * 16, (Vote(0, "left", "ann", 1.5), Vote(1, "tie", "ann", None)))
    assert files[1].study_id == "1" * 16
    keys = {put_votes(store, file.study_id, file.votes) for file in [*files, *files]}
    assert len(keys) == 2
    [stored] = stored_votes(store, "0" * 16)
    assert stored.votes == files[0].votes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no vote is in it"),
        ("no json", "line 1 is no vote"),
        ("[]", "line 1 is no vote"),
        (line(choice="best"), "choice is 'best', and is one of left, tie, right, skip"),
        (line(rater=" "), "rater is ' '; a name has 1 to 100"),
        (line(rater="a\x1b[2J"), "no control character"),
        (line(pair="1"), "pair is '1'"),
        (line(pair=True), "pair is True"),
        (line(study="../x"), "study is '../x'"),
        (f"{line()}\n{{}}", "line 2 is no vote"),
    ],
)
def test_a_line_that_is_no_vote_is_named(text: str, words: str) -> None:
    with pytest.raises(DarkroomError, match=f"v.jsonl: .*{words}".replace("[", r"\[")) as caught:
        parsed_votes(text.encode(), "v.jsonl")
    assert "\n" not in str(caught.value)


def test_a_name_may_be_of_any_script() -> None:
    names = ["Žofie", "亜由美", "👩‍💻", "line\u2028separator"]
    lines = [line(rater="?").replace("?", name) for name in names]  # as a browser writes them
    found = parsed_votes("\r\n".join(lines).encode(), "v.jsonl")
    assert [vote.rater for vote in found[0].votes] == names


def test_a_second_vote_of_a_rater_on_a_pair_is_refused_with_both_files() -> None:
    first = VoteFile("one", "0" * 16, (Vote(0, "left", "ann"), Vote(1, "left", "ann"), Vote(0, "left", "bo")))
    check_once([first, replace(first, study_id="1" * 16)])
    check_once([first, replace(first, place="a later download", votes=(*first.votes, Vote(1, "tie", "bo")))])
    with pytest.raises(DarkroomError, match=r"two: rater 'bo' voted on pair 0 of study 0+ in one too, and other"):
        check_once([first, VoteFile("two", "0" * 16, (Vote(0, "right", "bo"),))])
    with pytest.raises(DarkroomError, match=r"one: rater 'ann' voted on pair 0 of study 0+ twice"):
        check_once([replace(first, votes=(*first.votes, Vote(0, "tie", "ann")))])
