"""What people are asked about a run, and their votes: studies of blind pairs, stored beside the run.

A study is named by a digest of what it holds, so that votes tell which pairs they are of. A file of votes is stored
whole, named by its own digest; none is ever changed.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.identity import digest
from darkroom.runs.files import RATINGS_PREFIX, from_json, parse_study_key, study_key, to_json, votes_prefix
from darkroom.storage.store import NotFound, Store

LEFT, RIGHT, TIE, SKIP = "left", "right", "tie", "skip"
SCORES = {LEFT: 1.0, TIE: 0.5, RIGHT: 0.0}  # of the image on the left
CHOICES = (*SCORES, SKIP)
_JSON = "application/json"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_STUDY_ID = re.compile("[0-9a-f]{16}")
_LONGEST_NAME = 100  # characters of a rater's


@dataclass(frozen=True)
class RatedImage:
    """One image of a pair."""

    cell_id: str
    image_id: str
    sha256: str  # of the file that was shown


@dataclass(frozen=True)
class RatedPair:
    """Two images of one prompt, from two cells."""

    prompt: str
    left: RatedImage
    right: RatedImage
    repeats: int | None = None  # place of the pair that this one shows again, with its sides changed


@dataclass(frozen=True)
class RatedCell:
    """A cell as tables call it, also where its run is another one."""

    cell_id: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """Pairs in the order in which raters see them."""

    question: str
    cells: tuple[RatedCell, ...]
    pairs: tuple[RatedPair, ...]
    image_format: str = "png"  # that raters see

    @cached_property
    def study_id(self) -> str:
        return digest("study", self.question, self.image_format, [asdict(pair) for pair in self.pairs], length=16)

    @property
    def cell_ids(self) -> frozenset[str]:
        return frozenset(cell.cell_id for cell in self.cells)


@dataclass(frozen=True)
class Vote:
    """What one rater said of one pair."""

    pair: int  # its place in the study, from 0
    choice: str  # one of CHOICES
    rater: str
    seconds: float | None = None  # from when both images were seen; None: not known


@dataclass(frozen=True)
class VoteFile:
    """Votes that came in one file."""

    place: str  # of the file, for people
    study_id: str
    votes: tuple[Vote, ...]


def put_study(store: Store, study: Study) -> None:
    """Equal studies have one name, so what is there already stands."""
    store.put_if_absent(study_key(study.study_id), to_json(asdict(study)), _JSON)


def read_study(store: Store, study_id: str) -> Study | None:
    """None where the run has no such study. Raises DarkroomError for a file that is none, or another one."""
    key = study_key(study_id)
    try:
        study = _study(json.loads(store.get(key)))
    except NotFound:
        return None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DarkroomError(
            f"{store.describe(key)}: not readable as a study ({first_line(error)}); restore it"
        ) from error
    if study.study_id != study_id:
        raise DarkroomError(f"{store.describe(key)}: its pairs are not those that its name says; restore it")
    return study


def _study(value: Mapping[str, Any]) -> Study:
    cells = tuple(from_json(RatedCell, cell) for cell in value["cells"])
    sides = ("left", "right")
    pairs = [{**pair, **{side: from_json(RatedImage, pair[side]) for side in sides}} for pair in value["pairs"]]
    shown = tuple(RatedPair(**pair) for pair in pairs)
    return Study(str(value["question"]), cells, shown, str(value["image_format"]))


def study_ids(store: Store) -> list[str]:
    """Of a run, in order."""
    found = (parse_study_key(info.key) for info in store.list(RATINGS_PREFIX))
    return sorted(filter(None, found))


def put_votes(store: Store, study_id: str, votes: Sequence[Vote]) -> str:
    """The key that they are stored under."""
    text = "".join(f"{json.dumps({'study': study_id} | asdict(vote))}\n" for vote in votes).encode()
    key = f"{votes_prefix(study_id)}{digest('votes', text.decode(), length=16)}.jsonl"
    store.put_if_absent(key, text, "application/x-ndjson")
    return key


def stored_votes(store: Store, study_id: str) -> Iterator[VoteFile]:
    """File by file."""
    for info in store.list(votes_prefix(study_id)):
        yield from parsed_votes(store.get(info.key), store.describe(info.key))


def parsed_votes(data: bytes, place: str) -> list[VoteFile]:
    """JSON lines with `study` and the fields of Vote, by their study. Raises DarkroomError that names the line."""
    found: dict[str, list[Vote]] = {}
    for number, line in enumerate(_lines(data, place), start=1):
        try:
            value = json.loads(line)
            vote = from_json(Vote, {each.name: value[each.name] for each in fields(Vote) if each.name in value})
            found.setdefault(_checked_study(value), []).append(_checked(vote))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise DarkroomError(
                f"{place}: line {number} is no vote ({first_line(error)}); give a file as the page of pairs "
                "downloads it"
            ) from error
    if not found:
        raise DarkroomError(f"{place}: no vote is in it; give a file as the page of pairs downloads it")
    return [VoteFile(place, study_id, tuple(votes)) for study_id, votes in found.items()]


def check_once(files: Iterable[VoteFile]) -> None:
    """Refuse a second vote of one rater on one pair that says something else; files in the order in which they came."""
    seen: dict[tuple[str, str, int], tuple[Vote, str]] = {}
    for file in files:
        for vote in file.votes:
            key = file.study_id, vote.rater, vote.pair
            before, place = seen.setdefault(key, (vote, file.place))
            if before != vote:
                where = "twice" if place == file.place else f"in {place} too"
                raise DarkroomError(
                    f"{file.place}: rater {vote.rater!r} voted on pair {vote.pair} of study {file.study_id} {where}, "
                    "and otherwise; leave one of the files out, or remove the one that is stored (a rater's later "
                    "download holds the votes of the earlier one), or have raters take different names"
                )


def _lines(data: bytes, place: str) -> list[str]:
    try:
        return [line for line in data.decode("utf-8-sig").split("\n") if line.strip()]  # names may hold other ends
    except UnicodeDecodeError as error:
        raise DarkroomError(f"{place}: not UTF-8 text; give a file as the page of pairs downloads it") from error


def _checked_study(value: Mapping[str, Any]) -> str:
    study_id = value["study"]
    if not isinstance(study_id, str) or not _STUDY_ID.fullmatch(study_id):
        raise ValueError(f"study is {study_id!r}"[:80])
    return study_id


def _checked(vote: Vote) -> Vote:
    if vote.choice not in CHOICES:
        raise ValueError(f"choice is {vote.choice!r}, and is one of {', '.join(CHOICES)}"[:120])
    if not vote.rater.strip() or len(vote.rater) > _LONGEST_NAME or _CONTROL.search(vote.rater):
        name = vote.rater[:_LONGEST_NAME]
        raise ValueError(f"rater is {name!r}; a name has 1 to {_LONGEST_NAME} characters, and no control character")
    return vote
