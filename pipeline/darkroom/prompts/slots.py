"""Slots of a template: what each may hold, under which conditions, and its combinations, counted and found by number.

    colour: [red, {value: blue, weight: 3}]   texts; weights are of random draws
    hat: [none, {value: "a {colour} hat"}]    slots in a value
    coat: [none, {value: a coat, when: {season: [autumn, winter]}}]   a value for some values of other slots
    count: {from: 1, to: 10, step: 1}         numbers
    scale: {uniform: [0.5, 2], digits: 2}     numbers of random draws
    pet: {file: pets.txt}                     lines of a file, as wildcards are read

A slot that neither the pattern nor a chosen value names is empty, and makes no combinations. So is one of which no
value's condition holds. No combination needs those before it, and none is held.
"""

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import accumulate
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.columns import READ
from darkroom.prompts.variants import Draws
from darkroom.prompts.wildcards import lines_of_file

_NAMED = re.compile(r"\{(\w+)\}")
_MOST_NUMBERS = 2**62
_NEEDED = (
    "needed a list of one or more texts, numbers in quotes as ['1','2'], or {value: ..., weight: ..., when: {slot: "
    "value}}; or {from: 1, to: 10}, {uniform: [0, 1]} or {file: ...}"
)

Values = Mapping[str, str | None]  # slot -> its value; None: nothing names it
Facts = tuple[tuple[str, str | None], ...]  # what later slots depend on: chosen values, and slots that these name


class Numbers(Sequence[str]):
    """Numbers from `low` on, as they are written, without being held."""

    def __init__(self, low: Decimal, step: Decimal, count: int) -> None:
        self._low, self._step, self._count = low, step, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> Any:
        if not 0 <= place < self._count:
            raise IndexError(place)
        return f"{self._low + place * self._step:f}"


@dataclass(frozen=True)
class Slot:
    """One slot. `values` is empty where they are drawn from a range of numbers."""

    name: str
    values: Sequence[str]
    said: Any  # as it was given, with the content of files: JSON
    weights: Sequence[float] | None = None  # None: equal
    conditions: Mapping[int, Mapping[str, Collection[str]]] = field(default_factory=dict)  # by place of a value
    uniform: tuple[float, float, int] | None = None  # from, to, digits

    @property
    def is_plain(self) -> bool:
        return isinstance(self.said, list) and self.weights is None and not self.conditions

    @cached_property
    def longest(self) -> int:
        """Characters of a value, at most."""
        if self.uniform:
            return max(len(f"{each:.{self.uniform[2]}f}") for each in self.uniform[:2])
        ends = (self.values[0], self.values[len(self.values) - 1]) if isinstance(self.values, Numbers) else self.values
        return max(map(len, ends))


def slot_of(name: str, given: Any) -> Slot:
    """Raises DarkroomError for what is no slot."""
    if name in READ:
        raise DarkroomError(f"prompts.slots.{name}: the name means a setting of the row; call the slot something else")
    key = f"prompts.slots.{name}={given!r}"
    if isinstance(given, Mapping):
        kinds = {"from": _numbers, "uniform": _uniform, "file": _file}
        for kind, make in kinds.items():
            if kind in given:
                return make(name, given, key)
    elif isinstance(given, list | tuple) and given:
        return _listed(name, list(given), key)
    raise DarkroomError(f"{key}: {_NEEDED}")


def _listed(name: str, given: list[Any], key: str) -> Slot:
    if all(isinstance(each, str) for each in given):
        return Slot(name, given, given)
    options: list[dict[str, Any]] = [{"value": each} if isinstance(each, str) else _option(each, key) for each in given]
    weights = [float(each.get("weight", 1.0)) for each in options]
    if not sum(weights) > 0:
        raise DarkroomError(f"{key}: all weights are 0; give one that is more")
    conditions = {place: each["when"] for place, each in enumerate(options) if "when" in each}
    return Slot(
        name,
        [each["value"] for each in options],
        options,
        None if len(set(weights)) == 1 else weights,
        conditions,
    )


def _option(given: Any, key: str) -> dict[str, Any]:
    if not isinstance(given, Mapping) or not isinstance(given.get("value"), str):
        raise DarkroomError(f"{key}: {_NEEDED}")
    if others := given.keys() - {"value", "weight", "when"}:
        raise DarkroomError(f"{key}: a value has no {min(map(str, others))!r}; give value, weight and when")
    option: dict[str, Any] = {"value": given["value"]}
    if "weight" in given:
        option["weight"] = _number(given["weight"])
        if option["weight"] is None or not 0 <= option["weight"] < float("inf"):
            raise DarkroomError(f"{key}: weight {given['weight']!r} is no number from 0 on")
    return option | ({"when": _condition(given["when"], key)} if given.get("when") else {})


def _condition(when: Any, key: str) -> dict[str, list[str]]:
    if not isinstance(when, Mapping):
        raise DarkroomError(f"{key}: when={when!r}; give slots with the values that they must have, as {{pet: cat}}")
    return {slot: list(values) if isinstance(values, list | tuple) else [values] for slot, values in when.items()}


def _numbers(name: str, given: Mapping[str, Any], key: str) -> Slot:
    _check_keys(given, ("from", "to", "step"), key)
    try:
        low, high, step = (Decimal(str(given.get(part, 1))) for part in ("from", "to", "step"))
        count = int((high - low) // step) + 1 if "to" in given and step > 0 else 0
    except InvalidOperation:
        count = 0
    if not 0 < count < _MOST_NUMBERS:
        raise DarkroomError(f"{key}: needed numbers, of which to is not below from and step is above 0")
    return Slot(name, Numbers(low, step, count), {"from": str(low), "to": str(high), "step": str(step)})


def _uniform(name: str, given: Mapping[str, Any], key: str) -> Slot:
    _check_keys(given, ("uniform", "digits"), key)
    ends, digits = given["uniform"], _number(given.get("digits", 2))
    numbers = [_number(end) for end in ends] if isinstance(ends, list | tuple) else []
    low, high = numbers if len(numbers) == 2 else (None, None)
    if low is None or high is None or not low < high < float("inf") or digits not in range(16):
        raise DarkroomError(f"{key}: needed two numbers, the smaller first, and digits from 0 to 15")
    assert digits is not None
    return Slot(name, (), {"uniform": [low, high], "digits": int(digits)}, uniform=(low, high, int(digits)))


def _number(value: Any) -> float | None:
    """Of a number, or of its text, as files of configuration have it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _file(name: str, given: Mapping[str, Any], key: str) -> Slot:
    _check_keys(given, ("file", "endpoint_url"), key)
    lines = lines_of_file(str(given["file"]), given.get("endpoint_url"), f"prompts.slots.{name}.file")
    return Slot(name, lines, {"file": lines})


def _check_keys(given: Mapping[str, Any], known: Sequence[str], key: str) -> None:
    for name in given:
        if name not in known:
            raise DarkroomError(f"{key}: no {name!r} beside {known[0]!r}; there are {', '.join(known)}")


# Combinations ---------------------------------------------------------------------------------------------------------


class Combinations:
    """Of slots, of which the pattern names some. In order of the slots, the last varies fastest; but a slot comes after
    those that its conditions, or the values that name it, are of."""

    def __init__(self, slots: Mapping[str, Slot], named: Collection[str]) -> None:
        self._named = named
        self._inner = {slot.name: inner_slots(slot, slots) for slot in slots.values()}
        self._slots = _ordered(slots, self._inner)
        self._asked = {name for slot in self._slots for each in slot.conditions.values() for name in each}
        self.is_full = not self._asked and not any(self._inner.values())  # every slot goes with every value of others
        self._counts: dict[tuple[int, Facts], int] = {}
        self._sums: dict[tuple[int, Facts], tuple[Sequence[int], list[int]]] = {}

    @property
    def count(self) -> int:
        return self._count(0, ())

    def at(self, number: int) -> Values:
        """Values of one combination."""
        return self._every_at(number) if self.is_full else self._some_at(number)

    def _every_at(self, number: int) -> Values:
        """Where every slot goes with every other: digits in a mixed radix."""
        values: dict[str, str | None] = dict.fromkeys(slot.name for slot in self._slots)
        for slot in reversed(self._slots):
            number, place = divmod(number, len(slot.values))
            values[slot.name] = slot.values[place]
        return values

    def _some_at(self, number: int) -> Values:
        values: dict[str, str | None] = {}
        facts: Facts = ()
        for position, slot in enumerate(self._slots):
            if not self._is_named(slot, facts):
                values[slot.name] = None
                facts = self._kept(position, facts)
                continue
            allowed = self._allowed(slot, facts)
            if not allowed:
                place = None
            elif self._is_simple(slot):
                index, number = divmod(number, self._count(position + 1, self._kept(position, facts)))
                place = allowed[index]
            else:
                _, sums = self._summed(position, facts)
                index = bisect_right(sums, number)
                number -= sums[index - 1] if index else 0
                place = allowed[index]
            values[slot.name] = "" if place is None else slot.values[place]
            facts = self._after(position, facts, place)
        return values

    def drawn(self, draws: Draws) -> Values:
        values: dict[str, str | None] = {}
        facts: Facts = ()
        for position, slot in enumerate(self._slots):
            place = None
            if not self._is_named(slot, facts):
                values[slot.name] = None
            elif slot.uniform:
                low, high, digits = slot.uniform
                values[slot.name] = f"{low + draws.share() * (high - low):.{digits}f}"
            else:
                allowed = self._allowed(slot, facts)
                weights = slot.weights and [slot.weights[each] for each in allowed]
                if allowed and (weights is None or sum(weights) > 0):
                    place = allowed[draws.weighted(weights) if weights else draws.below(len(allowed))]
                values[slot.name] = "" if place is None else slot.values[place]
            facts = self._after(position, facts, place)
        return values

    def _count(self, position: int, facts: Facts) -> int:
        if position == len(self._slots):
            return 1
        known = self._counts.get((position, facts))
        if known is None:
            known = self._counts[position, facts] = self._counted(position, facts)
        return known

    def _counted(self, position: int, facts: Facts) -> int:
        slot = self._slots[position]
        if not self._is_named(slot, facts):
            return self._count(position + 1, self._kept(position, facts))
        allowed = self._allowed(slot, facts)
        if not allowed:
            return self._count(position + 1, self._after(position, facts, None))
        if self._is_simple(slot):
            return len(allowed) * self._count(position + 1, self._kept(position, facts))
        return self._summed(position, facts)[1][-1]

    def _summed(self, position: int, facts: Facts) -> tuple[Sequence[int], list[int]]:
        """Allowed values, and how many combinations these and those before them have."""
        known = self._sums.get((position, facts))
        if known is None:
            allowed = self._allowed(self._slots[position], facts)
            counts = (self._count(position + 1, self._after(position, facts, place)) for place in allowed)
            known = self._sums[position, facts] = (allowed, list(accumulate(counts)))
        return known

    def _is_simple(self, slot: Slot) -> bool:
        """Whether what follows is the same, whatever its value."""
        return slot.name not in self._asked and not self._inner[slot.name]

    def _is_named(self, slot: Slot, facts: Facts) -> bool:
        return slot.name in self._named or (slot.name, _NAMED_BY_A_VALUE) in facts

    def _allowed(self, slot: Slot, facts: Facts) -> Sequence[int]:
        if not slot.conditions:
            return range(len(slot.values))
        known = dict(facts)
        return [
            place
            for place in range(len(slot.values))
            if all(known.get(f"={name}") in values for name, values in slot.conditions.get(place, {}).items())
        ]

    def _after(self, position: int, facts: Facts, place: int | None) -> Facts:
        slot = self._slots[position]
        found = set(facts)
        if place is not None and slot.name in self._asked:
            found.add((f"={slot.name}", slot.values[place]))
        found |= {
            (name, _NAMED_BY_A_VALUE) for name in self._inner[slot.name].get(place if place is not None else -1, ())
        }
        return self._kept(position, tuple(sorted(found)))

    def _kept(self, position: int, facts: Facts) -> Facts:
        """Those that a slot after this one depends on."""
        needed = self._needed[position]
        return tuple(fact for fact in facts if fact[0] in needed)

    @cached_property
    def _needed(self) -> list[set[str]]:
        needed: list[set[str]] = []
        later: set[str] = set()
        for slot in reversed(self._slots):
            needed.append(set(later))
            later |= {slot.name, *(f"={name}" for each in slot.conditions.values() for name in each)}
        return needed[::-1]


_NAMED_BY_A_VALUE = "named"


def filled(text: str, values: Values) -> str:
    """A text with the values of the slots that it names, which may name others."""
    if "{" not in text:
        return text
    return _NAMED.sub(
        lambda found: filled(values.get(found[1]) or "", values) if found[1] in values else found[0], text
    )


def inner_slots(slot: Slot, slots: Mapping[str, Slot]) -> dict[int, tuple[str, ...]]:
    """By place of a value, the slots that it names."""
    if isinstance(slot.values, Numbers):
        return {}
    found = {place: tuple(name for name in _NAMED.findall(text) if name in slots) for place, text in _braced(slot)}
    return {place: names for place, names in found.items() if names}


def _braced(slot: Slot) -> Iterator[tuple[int, str]]:
    return ((place, text) for place, text in enumerate(slot.values) if "{" in text)


def _ordered(slots: Mapping[str, Slot], inner: Mapping[str, Mapping[int, Sequence[str]]]) -> list[Slot]:
    """In the order that they were given in, but after those that they depend on."""
    before: dict[str, set[str]] = {name: set() for name in slots}
    for slot in slots.values():
        for name in (name for each in slot.conditions.values() for name in each):
            if name not in slots:
                raise DarkroomError(
                    f"prompts.slots.{slot.name}: when names {name!r}, which is no slot of this template"
                )
            before[slot.name].add(name)
        for name in (name for names in inner[slot.name].values() for name in names):
            before[name].add(slot.name)
    try:
        sorter = TopologicalSorter(before)
        sorter.prepare()
    except CycleError as error:
        names = " > ".join(map(str, error.args[1]))
        raise DarkroomError(f"prompts.slots: slots depend on each other in a circle ({names}); take one out") from error
    place, ready, order = {name: number for number, name in enumerate(slots)}, set(sorter.get_ready()), []
    while ready:
        name = min(ready, key=place.__getitem__)
        ready.remove(name)
        order.append(slots[name])
        sorter.done(name)
        ready |= set(sorter.get_ready())
    return order
