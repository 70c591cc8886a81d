"""The small files of a run: JSON to frozen values and back, and several objects of a store read at a time."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")

_NUM_READERS = 8  # threads; a store far away answers each after a while


def prefetched(items: Iterable[In], read: Callable[[In], Out]) -> Iterator[Out]:
    """`read` of each item, in order, with a few calls under way at a time."""
    waiting: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(_NUM_READERS, "read") as pool:
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > 2 * _NUM_READERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def to_json(value: object) -> bytes:
    """Text for people too; a lone surrogate, which UTF-8 has no bytes for, becomes a question mark."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace")


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
