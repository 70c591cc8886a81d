"""Prompts from a pattern with named slots: every combination of their values, or seeded random draws.

Any row can be made without those before it.
"""

import math
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pyarrow as pa

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.prompts.columns import READ
from darkroom.prompts.sources import SourceBlock

Mode = Literal["product", "random"]


@dataclass(frozen=True)
class TemplateSource:
    """Rows of a template; the value of each slot is an extra column. In a product the last slot varies fastest."""

    name: str
    pattern: str
    slots: Mapping[str, Sequence[str]]
    mode: Mode
    num_prompts: int
    seed: int

    def schema(self) -> pa.Schema:
        return pa.schema([(name, pa.string()) for name in ("prompt", *self.slots)])

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        for first in range(start, self.num_prompts, block_rows):
            drawn = [self._values(row) for row in range(first, min(first + block_rows, self.num_prompts))]
            columns = {
                "prompt": ["".join(part if fixed else values[part] for part, fixed in self._parts) for values in drawn]
            }
            columns |= {name: [values[name] for values in drawn] for name in self.slots}
            yield SourceBlock(first, pa.table(columns, schema=self.schema()))

    def check_unchanged(self) -> None:
        """A template cannot change."""

    def content_digest(self) -> str:
        slots = [[name, list(values)] for name, values in self.slots.items()]
        return digest("template", self.pattern, slots, self.mode, self.num_prompts, self.seed, length=64)

    @cached_property
    def _parts(self) -> list[tuple[str, bool]]:
        """Pieces of the pattern: text and whether it is fixed, or else the name of a slot."""
        return parse_pattern(self.pattern)

    def _values(self, row: int) -> dict[str, str]:
        sizes = [len(values) for values in self.slots.values()]
        places = _mixed_radix(row, sizes) if self.mode == "product" else self._drawn(row, sizes)
        return {name: values[place] for (name, values), place in zip(self.slots.items(), places, strict=True)}

    def _drawn(self, row: int, sizes: Sequence[int]) -> list[int]:
        number = int(digest("template", self.seed, row, length=64), 16)
        places = []
        for size in sizes:  # 256 bits: enough for many slots, and the bias of a remainder is beyond notice
            number, place = divmod(number, size)
            places.append(place)
        return places


def template_source(
    pattern: str, slots: Mapping[str, Sequence[str]], mode: Mode, num_prompts: int | None, seed: int
) -> TemplateSource:
    """Check a template and settle how many prompts it makes."""
    named = {name for name, fixed in parse_pattern(pattern) if not fixed}
    _check_slots(pattern, slots, named)
    combinations = math.prod(len(values) for values in slots.values())
    if mode not in ("product", "random"):
        raise DarkroomError(f"prompts.mode={mode}: needed product or random")
    if mode == "random" and num_prompts is None:
        raise DarkroomError("prompts.mode=random needs prompts.num_prompts: how many to draw")
    if num_prompts is not None and num_prompts < 1:
        raise DarkroomError(f"prompts.num_prompts={num_prompts}: needed at least 1")
    if mode == "product" and num_prompts is not None and num_prompts > combinations:
        raise DarkroomError(
            f"prompts.num_prompts={num_prompts}: the slots make {combinations} combinations; ask for no more, "
            "or set prompts.mode=random"
        )
    return TemplateSource("prompts.pattern", pattern, dict(slots), mode, num_prompts or combinations, seed)


def parse_pattern(pattern: str) -> list[tuple[str, bool]]:
    """`a {colour} hat` -> ("a ", True), ("colour", False), (" hat", True); doubled braces are braces."""
    parts: list[tuple[str, bool]] = []
    try:
        for text, name, form, conversion in string.Formatter().parse(pattern):
            parts += [(text, True)] if text else []
            if name is None:
                continue
            if not name.isidentifier() or form or conversion:
                raise DarkroomError(f"prompts.pattern: slot {{{name}}} needs a plain name, such as {{colour}}")
            parts.append((name, False))
    except DarkroomError:
        raise
    except ValueError as error:
        raise DarkroomError(f"prompts.pattern={pattern!r}: {error}; write a brace itself as {{{{ or }}}}") from error
    return parts


def _check_slots(pattern: str, slots: Mapping[str, Sequence[str]], named: set[str]) -> None:
    for name in sorted(named - set(slots)):
        raise DarkroomError(f"prompts.pattern: slot {{{name}}} has no values; add prompts.slots.{name}=[...]")
    for name, values in slots.items():
        if name not in named:
            raise DarkroomError(
                f"prompts.slots.{name}: the pattern {pattern!r} has no {{{name}}}; drop it or name it there"
            )
        if name in READ:
            raise DarkroomError(
                f"prompts.slots.{name}: the name means a setting of the row; call the slot something else"
            )
        if not isinstance(values, list | tuple) or not values or not all(isinstance(value, str) for value in values):
            raise DarkroomError(
                f"prompts.slots.{name}={values!r}: needed a list of one or more texts, numbers in quotes as ['1','2']"
            )


def _mixed_radix(number: int, sizes: Sequence[int]) -> list[int]:
    places = []
    for size in reversed(sizes):
        number, place = divmod(number, size)
        places.append(place)
    return places[::-1]
