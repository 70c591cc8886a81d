"""What a language model is asked about one prompt, and what its answer becomes.

A question's seed and hints are drawn from the seed that a person gives, the prompt's text and the number of the rewrite
alone: neither the order of rows nor their neighbours change them, and equal prompts have equal questions.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from darkroom.domain.identity import digest

OK = "ok"
REFUSED = "refused"  # by the model, in words that are known, or by its server
EMPTY = "empty"  # the answer has no text
TOO_LONG = "too_long"  # the answer was cut off, or the prompt is longer than the model takes
FAILED = "failed"  # the server made no answer; never stored, asked again by the same command

INSTRUCTION = (
    "You rewrite prompts for a text-to-image model. Keep what the prompt says: its subjects, their number, their "
    "colours, every text in quotes, and where things are to each other. Add what it leaves open: style, scene, light "
    "and camera angle, in concrete words. Write one paragraph of plain English. Answer with the new prompt alone."
)
_TOKEN_LENGTH = 100  # characters, more than tokens have: a server may send what nobody asked for
_SEEDS = 1 << 31  # servers take 32 bits
_THOUGHTS = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)  # of models that reason aloud
_LABEL = re.compile(r"^\W*(?:here is|here's)?[^\n:]{0,30}\bprompt\W{0,3}:\W*(?=\S)", re.IGNORECASE)
_QUOTES = {'"': '"', "“": "”", "'": "'", "`": "`"}
_REFUSAL = re.compile(
    r"(?:i'm |i am )?(?:sorry|unable to|not able to)\b|i (?:can't|cannot|can not|won't|will not|must decline)\b|"
    r"as an ai\b|(?:sorry, )?but i (?:can't|cannot)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Wording:
    """How every prompt is asked about."""

    instruction: str = INSTRUCTION
    advice: Mapping[str, Sequence[str]] = field(default_factory=dict)  # such as light -> values, of which one is drawn
    seed: int = 0
    num_rewrites: int = 1


@dataclass(frozen=True)
class Decoding:
    """How a model's answer is drawn."""

    temperature: float  # 0: its likeliest words
    top_p: float
    max_new_tokens: int


@dataclass(frozen=True)
class Question:
    """One prompt to rewrite once."""

    rewrite_id: str  # digest of all that its answer depends on
    prompt: str
    hints: str  # empty: none
    seed: int  # of 31 bits

    @property
    def text(self) -> str:
        """What the model reads beside the instruction."""
        return f"{self.prompt}\n\nHints, where they fit: {self.hints}." if self.hints else self.prompt


@dataclass(frozen=True)
class Answer:
    """What became of a question; `text` is empty unless `status` is ok. Halves of characters, as of an answer that was
    cut off, which no file holds, become question marks."""

    status: str
    text: str = ""
    error: str | None = None  # why there is no text, in one line
    is_rejected: bool = False  # its server takes no such request, as of a wrong setting: not remembered

    def __post_init__(self) -> None:
        for name in ("text", "error"):
            if (said := getattr(self, name)) is not None:
                object.__setattr__(self, name, said.encode("utf-8", "replace").decode())


def questions(prompt: str, wording: Wording, model: Mapping[str, object]) -> list[Question]:
    """One for each rewrite of a prompt. `model`: what the model and its decoding are, by names."""
    found = []
    for number in range(wording.num_rewrites):
        seed = int(digest("rewrite seed", wording.seed, prompt, number, length=16), 16) % _SEEDS
        hints = _hints(wording.advice, seed)
        name = digest("rewrite", dict(model), wording.instruction, prompt, hints, seed, length=64)
        found.append(Question(name, prompt, hints, seed))
    return found


def _hints(advice: Mapping[str, Sequence[str]], seed: int) -> str:
    """One value of each list, such as "light: golden hour; angle: low angle"."""
    return "; ".join(f"{name}: {random.Random(f'{seed} {name}').choice(values)}" for name, values in advice.items())


def read_answer(said: str, is_cut: bool, max_new_tokens: int) -> Answer:
    """Of what a model said: the prompt in it, on one line, without thoughts, a label and quotes around it.

    `is_cut`: it had not ended after `max_new_tokens`; so it has in any case where it is longer than these can be.
    """
    text = _bare(_THOUGHTS.sub("", said))
    if is_cut:
        return Answer(TOO_LONG, error=f"the answer had not ended after max_new_tokens={max_new_tokens}")
    if len(text) > max_new_tokens * _TOKEN_LENGTH:
        return Answer(
            TOO_LONG, error=f"the answer has {len(text)} characters, more than max_new_tokens={max_new_tokens} have"
        )
    if not text:
        return Answer(EMPTY, error="the answer is empty")
    if _REFUSAL.match(text):
        return Answer(REFUSED, error=f"the model answers: {text[:200]}")
    return Answer(OK, text)


def _bare(said: str) -> str:
    text = _LABEL.sub("", " ".join(said.replace("\0", "").split()))
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text
