"""Values of settings as they come, from a command, a call or a file, as what the table says that they are."""

import operator
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from decimal import Decimal
from difflib import get_close_matches
from os import PathLike
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from darkroom.domain.errors import DarkroomError, credentials_in, has_credentials
from darkroom.domain.settings import Range, Setting, mapping_text, settings_of

Table = TypeVar("Table")


def checked_value(setting: Setting, value: Any, label: str) -> Any:
    """As the setting's kind, in its range; `label` names it in errors. Raises DarkroomError."""
    if value is None and setting.is_optional:
        return None
    if setting.is_mapping:
        return _checked_mapping(value, label)
    if setting.is_list:
        return _entries(label, setting.kind, value)
    if value is None and setting.choices:
        raise DarkroomError(f"{label}=null: no such choice; choices are {', '.join(setting.choices)}")
    found = converted(label, setting.kind, value, _shown)
    if setting.allowed and found not in setting.allowed:
        raise DarkroomError(f"{label}={found} is out of range; give {setting.allowed}")
    if setting.choices and found not in setting.choices:
        raise DarkroomError(f"{label}={found}: no such choice; choices are {', '.join(setting.choices)}")
    return found


def checked_table(table: type[Table], given: Mapping[str, Any], label: str) -> Table:
    """Values by their names as a table's, with its defaults for the others. Raises DarkroomError for an unknown name, a
    value that cannot be, and one that must be given and is not."""
    settings = {each.name: each for each in settings_of(table)}  # type: ignore[arg-type]
    for name in given:
        if name not in settings:
            raise DarkroomError(f"{label}.{unknown(name, tuple(settings), 'option')}")
    found = {
        name: checked_value(each, given.get(name, each.default), f"{label}.{name}")
        for name, each in settings.items()
        if name in given or each.has_default
    }
    missing = next((name for name, each in settings.items() if name not in found), None)
    if missing is not None:
        raise DarkroomError(f"{label}.{missing} has no value; give {label}={{{missing}: ...}}")
    return table(**found)


def _checked_mapping(value: Any, label: str) -> str | None:
    """As JSON text."""
    if isinstance(value, str):
        return value  # of a stored run, or of code that has it so
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise DarkroomError(f"{label}={value!r}: give keys with values, such as {{key: value}}")
    try:
        return mapping_text(value)
    except (TypeError, ValueError) as error:
        raise DarkroomError(f"{label}: {error}; give texts, numbers, truth values and lists of them") from None


# Entries of lists ----------------------------------------------------------------------------------------------------


def _entries(name: str, kind: Any, value: Any) -> tuple[Any, ...]:
    """A tuple of `kind`, a dataclass, of a list of texts, which are its first field, of keys with values, or of such.

    A number's range is its field's metadata. Raises DarkroomError for anything else.
    """
    value = as_builtin(value)
    if isinstance(value, str | PathLike | Mapping) or not isinstance(value, Sequence):
        keys = ", ".join(f"{each.name}: ..." for each in fields(kind))
        raise DarkroomError(f"{name}={_shown(value)}: give a list, such as [{{{keys}}}]")
    return tuple(_entry(f"{name}[{place}]", kind, each) for place, each in enumerate(value))


def _entry(name: str, kind: Any, value: Any) -> Any:
    known = {each.name: each for each in fields(kind)}
    if is_dataclass(value):
        value = vars(value)
    given = {next(iter(known)): value} if isinstance(value, str | PathLike) else value
    if not isinstance(given, Mapping):
        raise DarkroomError(f"{name}={_shown(value)}: give a text, or keys with values: {', '.join(known)}")
    for key in given:
        if key not in known:
            raise DarkroomError(f"{name}: {unknown(str(key), tuple(known), 'key')}")
    for each in known.values():
        if each.default is MISSING and given.get(each.name) in (None, ""):
            raise DarkroomError(f"{name} has no {each.name}; give it, and any of {', '.join(known)}")
    hints = get_type_hints(kind)
    return kind(**{key: _checked_field(f"{name}.{key}", known[key], hints[key], each) for key, each in given.items()})


def _checked_field(name: str, about: Field[Any], kind: type, value: Any) -> Any:
    if value is None and about.default is not MISSING:
        return about.default
    found = converted(name, kind, value)
    if about.metadata and found not in (allowed := Range(**about.metadata)):
        raise DarkroomError(f"{name}={found} is out of range; give a number {allowed}")
    if kind is str and has_credentials(found):
        raise credentials_in(name)
    return found


# Values of an axis ---------------------------------------------------------------------------------------------------

_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_RANGE = re.compile(
    rf"(?P<first>{_NUMBER})\s*-\s*(?P<last>{_NUMBER})"
    rf"\s*(?:\(\s*(?P<step>[+-]\s*\d+(?:\.\d+)?)\s*\)|\[\s*(?P<count>\d+)\s*\])?"
)
_MOST_VALUES = 10_000  # of one range


def axis_values(name: str, setting: Setting, given: Any) -> Any:
    """The values of an axis: of numbers, each text is read as numbers and ranges, with commas between them.

    "1-4" is 1, 2, 3, 4; "1-10 (+2)" is 1, 3, 5, 7, 9, never past its end; "1-10 [4]" is 4 values, evenly spaced from
    end to end. This is the notation of AUTOMATIC1111's X/Y/Z plots. Anything else stays as it is. `name` is the axis's
    in errors. Raises DarkroomError for a range that may mean several things, or nothing.
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
                f"{name}={text!r}: {part!r} is no number and no range; give [1, 2, 4], or a range such as 1-4, "
                "1-10 (+2) or 1-10 [4]"
            )
        exact = [Decimal(part)] if number else _spread(f"{name}={part!r}", whole)  # type: ignore[arg-type]
        values += [_exactly(f"{name}={part!r}", setting, value) for value in exact]
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
            f"{said}: {value:.6g} is not whole, and {setting.name} is; give a step, as (+2), or another number of "
            "values"
        )
    return int(value) if setting.kind is int else float(value)


# Single values -------------------------------------------------------------------------------------------------------


def as_said(value: Any) -> str:
    """A value in a user's words, as a command has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if is_dataclass(value) and not isinstance(value, type):
        given = {each.name: getattr(value, each.name) for each in fields(value)}
        other = {each.name: given[each.name] for each in fields(value) if given[each.name] != each.default}
        return as_said(next(iter(other.values())) if len(other) == 1 else other)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {as_said(each)}" for name, each in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(as_said, value)) + "]"
    return str(value)


def unknown(name: str, known: Sequence[str], what: str) -> str:
    """What is said of a name that is none: the nearest that there is, and all of them."""
    longer = [each for each in known if each.startswith(name)]
    close = (longer or get_close_matches(name, known, 1))[:1]
    return f"no {what} {name!r}; {f'did you mean {close[0]}? There' if close else 'there'} are {', '.join(known)}"


def converted(name: str, kind: type, value: Any, show: Callable[[Any], str] = repr) -> Any:
    """The value as this kind; numbers and paths as text where text is needed, whole numbers as numbers."""
    value = as_builtin(value)
    if kind is str and (isinstance(value, PathLike) or as_number(value, float) is not None):
        return os.fsdecode(value) if isinstance(value, PathLike) else str(value)
    found = value if isinstance(value, kind) else None
    if kind in (int, float):  # of which a truth value is none, and 2.0 is a whole one
        found = as_number(int(value) if type(value) is float and value.is_integer() else value, kind)
    if found is None:
        needed = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[kind]
        raise DarkroomError(f"{name}={show(value)}: give {needed}")
    return kind(found)


def converted_or_none(name: str, hint: Any, value: Any) -> Any:
    """The same as `hint`, a kind or `kind | None`, says: None stays where it may be."""
    kinds = get_args(hint) or (hint,)
    return None if value is None and NoneType in kinds else converted(name, kinds[0], value)


def _shown(value: Any) -> str:
    """In a user's words, texts in quotes."""
    return repr(value) if isinstance(value, str) else as_said(value)


def as_builtin(value: Any) -> Any:
    """Scalars and arrays of numpy, columns of pandas and Arrow as Python's own values and lists; others as they are."""
    return value.tolist() if hasattr(value, "tolist") else value


def as_number(value: Any, kind: type) -> int | float | None:
    """The value as an int, or as an int or float; None where it is no such number. A truth value is none."""
    if isinstance(value, str | bytes | bool) or hasattr(value, "__len__"):
        return None
    if hasattr(value, "__index__"):
        return operator.index(value)
    return float(value) if kind is float and hasattr(value, "__float__") else None
