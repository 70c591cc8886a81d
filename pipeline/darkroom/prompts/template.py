"""Prompts from a pattern with named slots: every combination of their values, or seeded random draws.

Any row can be made without those before it, and none is held.
"""

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.prompts.slots import Combinations, Slot, Values, filled, inner_slots, slot_of
from darkroom.prompts.sources import SourceBlock
from darkroom.prompts.variants import Draws

Mode = Literal["product", "random"]
MOST_ROWS = 2**62


@dataclass(frozen=True)
class TemplateSource:
    """Rows of a template; the value of each slot is an extra column, null where nothing names the slot. In a product
    the last slot varies fastest."""

    name: str
    pattern: str
    slots: Mapping[str, Slot]
    mode: Mode
    num_prompts: int
    seed: int
    indexed: bool = False  # rows have ids by their numbers, which differ: no row is read to know that all are sound

    def schema(self) -> pa.Schema:
        names = ("prompt", *(["prompt_id"] if self.indexed else []), *self.slots)
        return pa.schema([(name, pa.string()) for name in names])

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        for first in range(start, self.num_prompts, block_rows):
            numbers = range(first, min(first + block_rows, self.num_prompts))
            chosen = [self._whole(self._values(row)) for row in numbers]
            columns: dict[str, list[Any]] = {
                "prompt": [
                    "".join(text if fixed else values[text] or "" for text, fixed in self._parts) for values in chosen
                ]
            }
            if self.indexed:
                columns["prompt_id"] = [digest("template row", self._digest, row) for row in numbers]
            columns |= {name: [values[name] for values in chosen] for name in self.slots}
            yield SourceBlock(first, pa.table(columns, schema=self.schema()))

    def check_unchanged(self) -> None:
        """A template cannot change."""

    def content_digest(self) -> str:
        return self._digest

    @property
    def max_prompt_chars(self) -> int:
        """Of a prompt, at most."""
        fixed = sum(len(text) for text, is_fixed in self._parts if is_fixed)
        return fixed + sum(slot.longest for slot in self.slots.values()) * max(1, len(self._parts))

    @cached_property
    def _digest(self) -> str:
        slots = [[name, slot.said] for name, slot in self.slots.items()]
        more = [True] if self.indexed else []
        return digest("template", self.pattern, slots, self.mode, self.num_prompts, self.seed, *more, length=64)

    @cached_property
    def _parts(self) -> list[tuple[str, bool]]:
        """Pieces of the pattern: text and whether it is fixed, or else the name of a slot."""
        return parse_pattern(self.pattern)

    @cached_property
    def combinations(self) -> Combinations:
        return Combinations(self.slots, {name for name, fixed in self._parts if not fixed})

    @cached_property
    def _is_plain(self) -> bool:
        return self.combinations.is_full and all(slot.is_plain for slot in self.slots.values())

    def _values(self, row: int) -> Values:
        if self.mode == "product":
            return self.combinations.at(row)
        if self._is_plain:
            return self._plainly_drawn(row)
        return self.combinations.drawn(Draws("template", self.seed, row))

    def _whole(self, values: Values) -> Values:
        """With the values of slots that values name."""
        if self.combinations.is_full:
            return values
        return {name: None if text is None else filled(text, values) for name, text in values.items()}

    def _plainly_drawn(self, row: int) -> Values:
        """Of slots that are lists of texts alone: as the first version drew them."""
        number = int(digest("template", self.seed, row, length=64), 16)
        values: dict[str, str | None] = {}
        for (
            name,
            slot,
        ) in self.slots.items():  # 256 bits: enough for many slots, and a remainder's bias is beyond notice
            number, place = divmod(number, len(slot.values))
            values[name] = slot.values[place]
        return values


def template_source(
    pattern: str, slots: Mapping[str, Any], mode: Mode, num_prompts: int | None, seed: int, indexed: bool = False
) -> TemplateSource:
    """Check a template and settle how many prompts it makes."""
    parts = parse_pattern(pattern)
    named = {name for name, fixed in parts if not fixed}
    made = {name: slot_of(name, given) for name, given in slots.items()}
    _check_slots(pattern, made, named)
    if mode not in ("product", "random"):
        raise DarkroomError(f"prompts.mode={mode}: needed product or random")
    if mode == "random" and num_prompts is None:
        raise DarkroomError("prompts.mode=random needs prompts.num_prompts: how many to draw")
    if num_prompts is not None and num_prompts < 1:
        raise DarkroomError(f"prompts.num_prompts={num_prompts}: needed at least 1")
    if indexed and not any(text.strip() for text, fixed in parts if fixed):
        raise DarkroomError(
            "prompts.indexed=true: the pattern is of slots alone, which may be empty; write words into it"
        )
    source = TemplateSource("prompts.pattern", pattern, made, mode, num_prompts or 1, seed, indexed)
    return source if mode == "random" else _product(source, num_prompts)


def _product(source: TemplateSource, num_prompts: int | None) -> TemplateSource:
    for slot in source.slots.values():
        if slot.uniform or slot.weights:
            what = "uniform" if slot.uniform else "weight"
            raise DarkroomError(f"prompts.slots.{slot.name}: {what} is of random draws; set prompts.mode=random")
    count = source.combinations.count
    if num_prompts is not None and num_prompts > count:
        raise DarkroomError(
            f"prompts.num_prompts={num_prompts}: the slots make {count} combinations; ask for no more, "
            "or set prompts.mode=random"
        )
    if num_prompts is None and count > MOST_ROWS:
        raise DarkroomError(
            f"prompts.slots make {count:.2e} combinations; give prompts.num_prompts, or prompts.mode=random"
        )
    return replace(source, num_prompts=num_prompts or count)


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


def _check_slots(pattern: str, slots: Mapping[str, Slot], named: set[str]) -> None:
    for name in sorted(named - set(slots)):
        raise DarkroomError(f"prompts.pattern: slot {{{name}}} has no values; add prompts.slots.{name}=[...]")
    inner = {name for slot in slots.values() for names in inner_slots(slot, slots).values() for name in names}
    for name in slots:
        if name not in named | inner:
            raise DarkroomError(
                f"prompts.slots.{name}: the pattern {pattern!r} has no {{{name}}}, nor has a value; drop it or name it "
                "there"
            )
