r"""What a prompt says beside its words, in the syntax of AUTOMATIC1111's web UI: weights of words, and LoRAs.

    (word)  (word:1.2)  [word]    weights 1.1, 1.2 and 1/1.1; those of brackets in brackets multiply
    \(  \)  \[  \]  \\            the character itself
    <lora:name:0.8>  <lora:name>  a LoRA, at this weight or at its own; these words are not encoded

As there, a bracket that is never closed reaches to the end, and one that closes nothing is text. What that syntax has
besides ([from:to:when], [one|other], BREAK, AND, other tags) is refused, since it would be encoded as words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from darkroom.domain.errors import DarkroomError

PLAIN, A1111 = "plain", "a1111"  # values of `prompt_syntax`
_BRACKET = 1.1  # weight of what stands in one without a number
_MOST = 10.0  # of a weight, either way, brackets in brackets included
_MOST_BRACKETS = 500  # of a prompt
_TAG = re.compile(r"<(\w+):([^<>]*)>")
_BRACKETS = re.compile(r"[\\()\[\]]")  # and what escapes them
_TOKEN = re.compile(r"\\[()\[\]\\]|[()\[|]|:\s*([+-]?[.\d]+(?:[eE][+-]?\d+)?)\s*([)\]])|\]|[^\\()\[\]:|]+|.", re.DOTALL)
_UNREAD_WORD = re.compile(r"\b(BREAK|AND)\b")
_UNREAD = "which is not read; write {}, or give sampling.prompt_syntax=plain"


@dataclass(frozen=True)
class ReadPrompt:
    """A prompt as it is read."""

    parts: tuple[tuple[str, float], ...]  # texts with their weights; neighbours differ in weight
    loras: tuple[tuple[str, float | None], ...] = ()  # names with weights; None: the LoRA's own

    @property
    def text(self) -> str:
        """What is encoded. Parts are set apart by a space: what a bracket parts are different words."""
        return " ".join(text for text, _ in self.parts)

    @property
    def is_weighted(self) -> bool:
        return any(weight != 1 for _, weight in self.parts)


@lru_cache(maxsize=4096)
def read_prompt(prompt: str, syntax: str = PLAIN) -> ReadPrompt:
    """Raises DarkroomError for what the syntax has and is not read, and for weights that are none."""
    if syntax == PLAIN:
        return ReadPrompt(((prompt, 1.0),))
    return ReadPrompt(_parts(_TAG.sub("", prompt)), tuple(_lora(*found.groups()) for found in _TAG.finditer(prompt)))


def read_negative(prompt: str, syntax: str = PLAIN) -> ReadPrompt:
    """The same of a negative prompt, which names no LoRA."""
    found = read_prompt(prompt, syntax)
    if found.loras:
        raise DarkroomError(f"<lora:{found.loras[0][0]}> stands in the negative prompt; write it in the prompt")
    return found


def without_tags(prompt: str, syntax: str) -> str:
    """The prompt with its weights, and without the LoRAs that it names."""
    return prompt if syntax == PLAIN else _TAG.sub("", prompt).strip()


def as_a1111(prompt: str, syntax: str) -> str:
    """The prompt as AUTOMATIC1111's tools read it: what is a bracket in plain text is one there too."""
    return _BRACKETS.sub(r"\\\g<0>", prompt) if syntax == PLAIN else prompt


# LoRAs ---------------------------------------------------------------------------------------------------------------


def _lora(kind: str, value: str) -> tuple[str, float | None]:
    name, *weights = (each.strip() for each in value.split(":"))
    tag = f"<{kind}:{value}>"
    if kind != "lora":
        raise DarkroomError(f"{tag}: of such tags <lora:name:weight> alone is read; take it out, or write it apart")
    if not name or len(weights) > 1:
        raise DarkroomError(f"{tag}: a LoRA has a name and one weight; write <lora:name:weight>")
    return name, _weight(weights[0], tag) if weights else None


def _weight(text: str, said: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        raise DarkroomError(f"{said}: weight {text!r} is no number; write one such as 0.8") from None
    if not abs(weight) <= _MOST:  # NaN neither
        raise DarkroomError(
            rf"{said}: weight {text} is not from -{_MOST:g} to {_MOST:g}; mend it, or write \( for text"
        )
    return weight


# Weights of words ----------------------------------------------------------------------------------------------------


def _parts(text: str) -> tuple[tuple[str, float], ...]:
    found: list[tuple[str, float]] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}  # where in `found` each open bracket begins
    num_brackets = 0
    for token in _TOKEN.finditer(text):
        said, number, end = token[0], token[1], token[2] or token[0]
        bracket = {")": "(", "]": "["}.get(end, "")
        if said in opened:
            opened[said].append(len(found))
            num_brackets += 1
            if num_brackets > _MOST_BRACKETS:
                raise DarkroomError(f"it has more than {_MOST_BRACKETS} brackets; write fewer, or \\( for text")
        elif bracket and opened[bracket]:
            _check_read(said, number, bracket)
            factor = _weight(number, f"(...{said}") if number else _factor(bracket)
            _multiply(found, opened[bracket].pop(), factor)
        else:
            _check_text(said, bool(opened["["]))
            found.append((said[1:] if len(said) == 2 and said[0] == "\\" else said, 1.0))
    for bracket, starts in opened.items():
        for start in starts:
            _multiply(found, start, _factor(bracket))
    for text, weight in found:
        if abs(weight) > _MOST:
            raise DarkroomError(
                f"brackets in brackets give {text.strip()!r} the weight {weight:.4g}, which is not from -{_MOST:g} to "
                f"{_MOST:g}; write fewer or smaller ones"
            )
    return _joined(found)


def _factor(bracket: str) -> float:
    return _BRACKET if bracket == "(" else 1 / _BRACKET


def _multiply(found: list[tuple[str, float]], start: int, factor: float) -> None:
    """The weights of all that was found from `start` on."""
    found[start:] = [(text, weight * factor) for text, weight in found[start:]]


def _check_read(said: str, number: str | None, bracket: str) -> None:
    if number and bracket == "[":
        raise DarkroomError(f"[...{said} changes the prompt between steps, {_UNREAD.format('one prompt')}")


def _check_text(said: str, is_in_square: bool) -> None:
    if said == "|" and is_in_square:
        raise DarkroomError(f"[...|...] changes the prompt between steps, {_UNREAD.format('one prompt')}")
    if word := _UNREAD_WORD.search(said):
        raise DarkroomError(f"{word[0]} parts a prompt, {_UNREAD.format('it in small letters')}")


def _joined(found: Sequence[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    """Neighbours of one weight as one; at least one part."""
    runs = groupby(found, key=lambda part: part[1])
    return tuple(("".join(text for text, _ in run), weight) for weight, run in runs) or (("", 1.0),)
