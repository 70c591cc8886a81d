"""Values of an axis of a grid: numbers, and ranges of them in the notation of AUTOMATIC1111's X/Y/Z plots."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import as_builtin
from darkroom.domain.settings import Setting

_DIGITS = r"\d{1,20}"  # more than any setting has
_NUMBER = rf"[+-]?{_DIGITS}(?:\.{_DIGITS})?"
_RANGE = re.compile(
    rf"(?P<first>{_NUMBER})\s*-\s*(?P<last>{_NUMBER})"
    rf"\s*(?:\(\s*(?P<step>[+-]\s*{_DIGITS}(?:\.{_DIGITS})?)\s*\)|\[\s*(?P<count>{_DIGITS})\s*\])?"
)
_MOST_VALUES = 10_000  # of one range


def axis_values(name: str, setting: Setting, given: Any) -> Any:
    """The values of an axis: of numbers, each text is read as numbers and ranges, with commas between them.

    "1-4" is 1, 2, 3, 4; "1-10 (+2)" is 1, 3, 5, 7, 9, never past its end; "1-10 [4]" is 4 values, evenly spaced from
    end to end. Anything else stays as it is. `name` is the axis's in errors. Raises DarkroomError for a range that may
    mean several things, or nothing.
    """
    given = as_builtin(given)
    if not setting.is_number:
        if isinstance(given, str):
            raise DarkroomError(f"{name}={given!r}: give a list, such as [{given!r}]")
        return given
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, Sequence):
        return given
    found: list[Any] = []
    for value in given:
        found += _numbers(name, setting, value) if isinstance(value, str) else [value]
    return found


def _numbers(name: str, setting: Setting, text: str) -> list[int | float]:
    values: list[int | float] = []
    for part in map(str.strip, text.split(",")):
        number, whole = re.fullmatch(_NUMBER, part), _RANGE.fullmatch(part)
        if not number and not whole:
            raise DarkroomError(
                f"{name}={text}: {part!r} is no number and no range; give [1, 2, 4], or a range such as 1-4, "
                "1-10 (+2) or 1-10 [4]"
            )
        for end in (whole["first"], whole["last"]) if whole else ():
            _exactly(f"{name}={part}", setting, Decimal(end))  # refuse what no step would mend
        exact = [Decimal(part)] if number else _spread(f"{name}={part}", whole)  # type: ignore[arg-type]
        values += [_exactly(f"{name}={part}", setting, value) for value in exact]
    return values


def _spread(said: str, found: re.Match[str]) -> list[Decimal]:
    first, last = Decimal(found["first"]), Decimal(found["last"])
    if found["count"]:
        count = int(found["count"])
        if not 2 <= count <= _MOST_VALUES or first == last:
            raise DarkroomError(f"{said}: [{count}] is how many values; give from 2 to {_MOST_VALUES}, and two ends")
        return [first + (last - first) * place / (count - 1) for place in range(count)]
    if not found["step"] and (first > last or first % 1 or last % 1):
        sign = "+" if first <= last else "-"
        ends = f"{first}-{last}"
        raise DarkroomError(
            f"{said}: its step is not clear; give it, as {ends} ({sign}0.5), or a number of values, as {ends} [5]"
        )
    step = Decimal(re.sub(r"\s", "", found["step"] or "+1"))
    if not step or (last - first) / step < 0:
        raise DarkroomError(f"{said}: steps of {step} do not lead from {first} to {last}; give another step")
    count = int((last - first) / step) + 1
    if count > _MOST_VALUES:
        raise DarkroomError(f"{said}: it has {count:,} values; give {_MOST_VALUES:,} at most")
    return [first + step * place for place in range(count)]


def _exactly(said: str, setting: Setting, value: Decimal) -> int | float:
    if setting.kind is int and value % 1:
        raise DarkroomError(
            f"{said}: {value:.6g} is not whole, and {setting.name} is; give whole ends and a step, as (+2), or "
            "another number of values"
        )
    return int(value) if setting.kind is int else float(value)
