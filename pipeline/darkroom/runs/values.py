"""Frozen values back from JSON, with every field of the type that it says. Knows no file and no value's meaning."""

from collections.abc import Mapping
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def from_json(kind: type[T], value: Mapping[str, Any]) -> T:
    """A dataclass of plain fields. Raises TypeError or ValueError for what it cannot be made from."""
    hints = get_type_hints(kind)
    for name, given in dict(value).items():
        if name in hints and not _is_one_of(given, _kinds(hints[name])):
            raise TypeError(f"{name} is {given!r}"[:80])
    return kind(**value)


def _is_one_of(given: Any, kinds: tuple[Any, ...]) -> bool:
    """A whole number may stand for a float, and a bool for no number."""
    if type(given) in (bool, int, float):
        return type(given) in kinds or (type(given) is int and float in kinds)
    return isinstance(given, tuple(get_origin(kind) or kind for kind in kinds))


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if isinstance(hint, UnionType) else (hint,)
