"""Prompts with choices in them, as the web UI's extension Dynamic Prompts reads them; a draw is a function of its key.

    {red|green|blue}      one of these; {2::red|green} is red twice as often
    {2$$red|green|blue}   two of these, none twice, joined by ", "; {1-3$$ and $$...}: one to three, joined by " and "
    __animals__           a line of animals.txt in the folder of wildcards; __animals/*__: of all files below animals
    \\{ \\} \\|              the character itself

Options and lines hold choices themselves. What that syntax has besides (variables, wraps, other samplers, arguments of
wildcards) is refused, since it would be encoded as words.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Union

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest

_TOKEN = re.compile(r"\\[{}|\\]|__([\w*/.\- ]*?\w[\w*/.\- ]*?|\*+)__|[{}|]|[^\\{}|_]+|.", re.DOTALL)
_SIGNS = re.compile(r"[{}\\]|__")  # of texts that may be more than their words
_COUNTS = re.compile(r"\s*(\d*)(-?)(\d*)\$\$")
_WEIGHT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)::")
_UNREAD = {"${": "a variable", "%{": "a wrap", "{~": "a sampler", "{@": "a sampler", "{!": "a sampler"}
_WILDCARD_ARGUMENTS = re.compile(r"__[\w*/.\-]+\(.*?\)__|__[~@][\w*/.\-]+__")
_SEPARATOR = ", "
_DEEPEST = 50  # choices within choices

Node = Union[str, "Sequenced", "Choice"]
FindLines = Callable[[str], Sequence[str]]  # a wildcard's name -> its lines


@dataclass(frozen=True)
class Sequenced:
    """Parts, one after another."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """From `low` to `high` of the options, none twice."""

    options: tuple[Node, ...]
    weights: tuple[float, ...]
    low: int = 1
    high: int = 1
    separator: str = _SEPARATOR


class Draws:
    """Random numbers that are a function of what they are keyed by: a stream of 64-bit numbers."""

    def __init__(self, *key: object) -> None:
        self._key, self._count, self._left = key, 0, 0
        self._number = 0

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1; `limit` is far below 2**64, and the remainder's bias beyond notice."""
        return self._next() % limit

    def share(self) -> float:
        """From 0 up to 1."""
        return (self._next() >> 11) / (1 << 53)

    def weighted(self, weights: Sequence[float]) -> int:
        """The position of one of these."""
        sums = list(accumulate(weights))
        return min(bisect_right(sums, self.share() * sums[-1]), len(sums) - 1)

    def _next(self) -> int:
        if not self._left:
            self._number, self._left = int(digest("draws", *self._key, self._count, length=64), 16), 4
            self._count += 1
        self._left -= 1
        self._number, number = divmod(self._number, 1 << 64)
        return number


def parsed(text: str, find_lines: FindLines) -> Node:
    """A prompt as its parts. Raises DarkroomError for what the syntax has and is not read, for brackets without their
    other one, and for wildcards that are not there or hold themselves."""
    return _Parser(find_lines).read(text, ()) if _SIGNS.search(text) else text


def drawn(node: Node, draws: Draws) -> str:
    """One of the prompts that a node stands for."""
    if isinstance(node, str):
        return node
    if isinstance(node, Sequenced):
        return "".join(drawn(part, draws) for part in node.parts)
    count = node.low if node.low == node.high else node.low + draws.below(node.high - node.low + 1)
    left, found = list(zip(node.options, node.weights, strict=True)), []
    for _ in range(count):
        option, _ = left.pop(draws.weighted([weight for _, weight in left]))
        found.append(drawn(option, draws))
    return node.separator.join(found)


class _Parser:
    def __init__(self, find_lines: FindLines) -> None:
        self._find_lines = find_lines
        self._wildcards: dict[str, Choice] = {}

    def read(self, text: str, within: tuple[str, ...]) -> Node:
        """`within`: the wildcards that the text stands in, outermost first."""
        _check_read(text)
        stack: list[list[list[Node]]] = [[[]]]  # of each open bracket, its options so far, each as parts
        for token in _TOKEN.finditer(text):
            said = token[0]
            if said == "{":
                stack.append([[]])
                if len(stack) > _DEEPEST:
                    raise DarkroomError(f"more than {_DEEPEST} brackets in brackets; write fewer")
            elif said == "|" and len(stack) > 1:
                stack[-1].append([])
            elif said == "}":
                if len(stack) == 1:
                    raise DarkroomError(r"} closes no {; write \} for the character")
                options = stack.pop()
                stack[-1][-1].append(_choice(options))
            elif token[1]:
                stack[-1][-1].append(self._wildcard(token[1].strip(), within))
            else:
                stack[-1][-1].append(said[1:] if len(said) == 2 and said[0] == "\\" else said)
        if len(stack) > 1:
            raise DarkroomError(r"{ is never closed; write \{ for the character")
        return _sequenced(stack[0][0])

    def _wildcard(self, name: str, within: tuple[str, ...]) -> Choice:
        if name in within:
            raise DarkroomError(f"wildcard __{name}__ holds itself, by {' > '.join((*within, name))}")
        if name not in self._wildcards:
            lines = self._find_lines(name)
            options = tuple(self.read(line, (*within, name)) for line in lines)
            self._wildcards[name] = Choice(options, (1.0,) * len(options))
        return self._wildcards[name]


def _check_read(text: str) -> None:
    for sign, what in _UNREAD.items():
        if sign in text:
            raise DarkroomError(f"{sign}...: {what}, which is not read; write it out")
    if found := _WILDCARD_ARGUMENTS.search(text):
        raise DarkroomError(f"{found[0]}: a wildcard with arguments or a sampler, which is not read; write it out")


def _choice(options: list[list[Node]]) -> Node:
    """Of what stands between brackets: counts before the first option, a weight before each."""
    low, high, separator, options = _counts(options)
    weights = []
    for number, parts in enumerate(options):
        weight, options[number] = _weight(parts)
        weights.append(weight)
    if not sum(weights) > 0:
        raise DarkroomError("the weights of {...} are all 0; give one that is more")
    nodes, kept = tuple(map(_sequenced, options)), tuple(weights)
    only = nodes[0] if len(nodes) == 1 else None
    if isinstance(only, Choice) and (low, high) != (1, 1):  # {2$$__animals__}
        nodes, kept = only.options, only.weights
    most = sum(weight > 0 for weight in kept)
    return Choice(nodes, kept, min(low, most), min(most if high is None else high, most), separator)


def _counts(options: list[list[Node]]) -> tuple[int, int | None, str, list[list[Node]]]:
    first = options[0][0] if options[0] else ""
    found = _COUNTS.match(first) if isinstance(first, str) else None
    if not found or not (found[1] or found[3]):
        return 1, 1, _SEPARATOR, options
    assert isinstance(first, str)
    rest, separator = first[found.end() :], _SEPARATOR
    if "$$" in rest:
        separator, _, rest = rest.partition("$$")
    low = int(found[1] or 1) if found[1] or found[2] else 1
    high = (int(found[3]) if found[3] else None) if found[2] else low
    if high is not None and high < low:
        raise DarkroomError(f"{{{found[0]}...}}: {high} is less than {low}; write the smaller number first")
    return low, high, separator, [[rest, *options[0][1:]], *options[1:]]


def _weight(parts: list[Node]) -> tuple[float, list[Node]]:
    first = parts[0] if parts else ""
    found = _WEIGHT.match(first) if isinstance(first, str) else None
    if not found:
        return 1.0, parts
    assert isinstance(first, str)
    return float(found[1]), [first[found.end() :], *parts[1:]]


def _sequenced(parts: Sequence[Node]) -> Node:
    """Texts beside each other are one."""
    joined: list[Node] = []
    for part in (part for part in parts if part != ""):
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    if len(joined) == 1:
        return joined[0]
    return Sequenced(tuple(joined)) if joined else ""
