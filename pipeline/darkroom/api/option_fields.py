"""Fields of options: each declared with its default, range and help, and checked where a value is made."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, field, fields
from typing import Any, get_args, get_origin, get_type_hints

from darkroom.api.annotations import checked_kind
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import as_builtin, as_number, converted_or_none


def option(
    default: Any = MISSING,
    *,
    help: str,
    low: float | None = None,
    high: float = 0,
    choices: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
    is_place: bool = False,
    is_mapping: bool = False,
    on_ray: bool = False,
    jobs: tuple[str, ...] = (),
) -> Any:
    """A number from `low` to `high`, or one of `words`; a truth value, or one of `words`; a text, or one of `choices`;
    keys with values.

    With `is_place`, it may name a file or folder of this machine; with `on_ray`, it is of workers on Ray alone.
    `jobs`: those that alone read it; empty: all.
    """
    about: dict[str, Any] = {"help": help, "choices": choices, "words": words, "is_place": is_place, "jobs": jobs}
    about["on_ray"] = on_ray
    about |= {"is_mapping": True} if is_mapping else {}
    return field(default=default, metadata=about | ({} if low is None else {"low": low, "high": high}))


def check_options(options: Any, prefix: str) -> None:
    """Types, choices and ranges of a value's fields, which are set as Python's own values."""
    for each in fields(options):
        value, about = getattr(options, each.name), each.metadata
        if about.get("is_mapping"):
            value = _checked_mapping(f"{prefix}{each.name}", value)
        elif about["words"]:
            value = (_number_or_word if "low" in about else _truth_or_word)(f"{prefix}{each.name}", value, about)
        elif _takes_list(options, each.name):
            value = _checked_list(options, each.name, value)
        else:
            value = converted_or_none(each.name, get_type_hints(type(options))[each.name], value)
            _check_value(f"{prefix}{each.name}", value, about)
        object.__setattr__(options, each.name, value)


def _takes_list(options: Any, name: str) -> bool:
    """Whether the field takes several values, which are looked at where they are used."""
    hint = get_type_hints(type(options))[name]
    return Sequence in (get_origin(hint), *map(get_origin, get_args(hint)))


def _checked_list(options: Any, name: str, value: Any) -> Any:
    if isinstance(value, str | Mapping):
        raise DarkroomError(f"{name}={value!r}: give a list, such as [{value!r}]")
    return checked_kind(name, value, get_type_hints(type(options))[name])


def _checked_mapping(name: str, value: Any) -> Any:
    if value is not None and not isinstance(value, Mapping):
        raise DarkroomError(f"{name}={value!r}: give keys with values, such as {{key: value}}")
    return value


def _number_or_word(name: str, value: Any, about: Mapping[str, Any]) -> Any:
    low, high, words = about["low"], about["high"], about["words"]
    value = as_builtin(value)
    if isinstance(value, str) and value in words:
        return value
    number, give = as_number(value, int), f"give a whole number from {low} to {high}, or {' or '.join(words)}"
    if number is None:
        raise DarkroomError(f"{name}={value!r}: {give}")
    if not low <= number <= high:
        raise DarkroomError(f"{name}={value} is out of range; {give}")
    return number


def _truth_or_word(name: str, value: Any, about: Mapping[str, Any]) -> Any:
    value = as_builtin(value)
    if isinstance(value, bool) or (isinstance(value, str) and value in about["words"]):
        return value
    raise DarkroomError(f"{name}={value}: give true or false, or {' or '.join(about['words'])}")


def _check_value(name: str, value: Any, about: Mapping[str, Any]) -> None:
    """`about`: what `option` says of the field."""
    if about["choices"] and value not in about["choices"]:
        raise DarkroomError(f"{name}={value}: no such choice; choices are {', '.join(about['choices'])}")
    if "low" in about and value is not None and not about["low"] <= value <= about["high"]:
        raise DarkroomError(f"{name}={value} is out of range; give a number from {about['low']} to {about['high']}")
