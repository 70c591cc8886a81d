"""What a scorer's lines hold: what it says of itself first, and what it answers to a batch of images.

The only place that knows the protocol's answers; infra/docs/scorers.md describes both sides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from darkroom.evaluation.extractor import Scores
from darkroom.evaluation.scorer_process import BrokenScorer
from darkroom.runs.features import ExtractorInfo, Score

PROTOCOL = 1
_MARK = "darkroom_scorer"  # the key of what it says first that names the protocol
_KEYS = ("name", "version", "scores", "columns", "reads_prompt")
_DIRECTIONS = {"higher": True, "lower": False}
_CHARS_SAID = 24  # of a number
_LARGEST = float(np.finfo(np.float32).max)  # of a score, which is stored so


@dataclass(frozen=True)
class Hello:
    """What a command says of itself."""

    name: str
    version: str
    scores: tuple[Score, ...]
    columns: tuple[str, ...]  # of the prompts, that it reads
    reads_prompt: bool = False  # its scores say how a picture fits its prompt


def read_hello(said: Mapping[str, Any], label: str) -> Hello:
    """Raises BrokenScorer where what it said first is no description of a scorer."""
    start = f"{label}: what it said first"
    if said.get(_MARK) != PROTOCOL:
        raise BrokenScorer(f'{start} has no "{_MARK}": {PROTOCOL}; see infra/docs/scorers.md')
    if unknown := said.keys() - {_MARK, *_KEYS}:
        raise BrokenScorer(f"{start} has {min(unknown)!r}; there are {', '.join(_KEYS)}")
    name, version, columns = said.get("name"), said.get("version"), said.get("columns", [])
    for key, value in (("name", name), ("version", version)):
        if not isinstance(value, str) or not value.strip():
            raise BrokenScorer(f"{start} has {key}={value!r}; give a text")
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        raise BrokenScorer(f"{start} has columns={columns!r}; give a list of names")
    reads_prompt = said.get("reads_prompt", False)
    if not isinstance(reads_prompt, bool):
        raise BrokenScorer(f"{start} has reads_prompt={reads_prompt!r}; give true or false")
    return Hello(str(name), str(version), _read_scores(said.get("scores"), start), tuple(columns), reads_prompt)


def _read_scores(given: Any, start: str) -> tuple[Score, ...]:
    if not isinstance(given, dict) or not given:
        raise BrokenScorer(f'{start} has scores={given!r}; give names with what is better, such as {{"cer": "lower"}}')
    for name, direction in given.items():
        if not name.isidentifier():
            raise BrokenScorer(
                f"{start} has a score {name!r}, which no figure can be called by; use letters, digits and _"
            )
        if not isinstance(direction, str) or direction not in _DIRECTIONS:
            raise BrokenScorer(f'{start} has scores.{name}={direction!r}; give "higher" or "lower": what is better')
    return tuple(Score(name, _DIRECTIONS[direction]) for name, direction in given.items())


def read_answers(answer: Mapping[str, Any], info: ExtractorInfo, count: int) -> list[Scores | str]:
    """One an image. Raises BrokenScorer for what is none: no score of such a command can be trusted."""
    start = f"extractor {info.name}: its answer"
    scores = answer.get("scores")
    if not isinstance(scores, list):
        raise BrokenScorer(f'{start} has {", ".join(answer) or "nothing"}; give {{"scores": [...]}}, an entry an image')
    if len(scores) != count:
        raise BrokenScorer(f"{start} has {len(scores)} entries for {count} images; give one for each, in their order")
    return [_answer(entry, info, f"{start}, entry {place},") for place, entry in enumerate(scores)]


def _answer(entry: Any, info: ExtractorInfo, start: str) -> Scores | str:
    names = [score.name for score in info.named_scores]
    if entry is None:
        return dict.fromkeys(names)
    if not isinstance(entry, dict):
        raise BrokenScorer(f"{start} is {entry!r}; give {{{', '.join(names)}}} with numbers or null, or an error")
    if entry.keys() == {"error"}:
        return str(entry["error"]) or "its scorer says no reason"
    if entry.keys() != set(names):
        raise BrokenScorer(
            f"{start} has {', '.join(entry) or 'nothing'}; give {', '.join(names)}, null where one does not apply"
        )
    found: dict[str, float | None] = {}
    for name, value in entry.items():
        if value is not None and not isinstance(value, int | float):  # true is 1
            raise BrokenScorer(f"{start} has {name}={value!r}; give a number, or null where it does not apply")
        if value is not None and not abs(value) <= _LARGEST:  # NaN is no less than anything
            return f"its score {name} is {str(value)[:_CHARS_SAID]}; a scorer answers null where a score does not apply"
        found[name] = value if value is None else float(value)
    return found
