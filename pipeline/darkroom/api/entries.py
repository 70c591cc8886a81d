"""Values as a person gives them, as the kind that is needed: numbers, texts, and lists of entries that have keys."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from difflib import get_close_matches
from os import PathLike
from typing import Any, get_type_hints

from darkroom.domain.errors import DarkroomError, credentials_in, has_credentials
from darkroom.domain.settings import Range


def entries(name: str, kind: Any, value: Any) -> tuple[Any, ...]:
    """A tuple of `kind`, a dataclass, of a list of texts, which are its first field, of keys with values, or of such.

    A number's range is its field's metadata. Raises DarkroomError for anything else.
    """
    if isinstance(value, str | PathLike | Mapping) or not isinstance(value, Sequence):
        keys = ", ".join(f"{each.name}: ..." for each in fields(kind))
        raise DarkroomError(f"{name}={value!r}: give a list, such as [{{{keys}}}]")
    return tuple(_entry(f"{name}[{place}]", kind, each) for place, each in enumerate(value))


def _entry(name: str, kind: Any, value: Any) -> Any:
    known = {each.name: each for each in fields(kind)}
    if is_dataclass(value):
        value = vars(value)
    given = {next(iter(known)): value} if isinstance(value, str | PathLike) else value
    if not isinstance(given, Mapping):
        raise DarkroomError(f"{name}={value!r}: give a text, or keys with values: {', '.join(known)}")
    for key in given:
        if key not in known:
            raise DarkroomError(f"{name}: {unknown(str(key), tuple(known), 'key')}")
    for each in known.values():
        if each.default is MISSING and given.get(each.name) in (None, ""):
            raise DarkroomError(f"{name} has no {each.name}; give it, and any of {', '.join(known)}")
    hints = get_type_hints(kind)
    return kind(**{key: _checked(f"{name}.{key}", known[key], hints[key], each) for key, each in given.items()})


def _checked(name: str, about: Field[Any], kind: type, value: Any) -> Any:
    if value is None and about.default is not MISSING:
        return about.default
    found = converted(name, kind, value)
    if about.metadata and found not in (allowed := Range(**about.metadata)):
        raise DarkroomError(f"{name}={found} is out of range; give a number {allowed}")
    if kind is str and has_credentials(found):
        raise credentials_in(name)
    return found


def unknown(name: str, known: Sequence[str], what: str) -> str:
    """What is said of a name that is none: the nearest that there is, and all of them."""
    longer = [each for each in known if each.startswith(name)]
    close = (longer or get_close_matches(name, known, 1))[:1]
    return f"no {what} {name!r}; {f'did you mean {close[0]}? There' if close else 'there'} are {', '.join(known)}"


def converted(name: str, kind: type, value: Any) -> Any:
    """The value as this kind; numbers as text where text is needed, whole numbers as numbers."""
    if kind is str and isinstance(value, PathLike):
        return str(value)
    if kind is float and type(value) is int:
        return float(value)
    if kind is int and type(value) is float and value.is_integer():
        return int(value)
    if kind is str and type(value) in (int, float):
        return str(value)
    if type(value) is not kind and not (kind in (int, float) and is_number(value, kind)):
        needed = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[kind]
        raise DarkroomError(f"{name}={value!r}: give {needed}")
    return kind(value)


def is_number(value: Any, wanted: type) -> bool:
    """Of a kind that numpy or pandas make, which behaves as Python's own."""
    return not isinstance(value, str | bool) and hasattr(value, "__index__" if wanted is int else "__float__")
