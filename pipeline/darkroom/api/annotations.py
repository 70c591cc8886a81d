"""Check the arguments of a call by its annotations, before any work: a value of another kind is refused by its name."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from darkroom.api.argument_names import in_python
from darkroom.domain.errors import DarkroomError

P = ParamSpec("P")
T = TypeVar("T")
Count = Annotated[int, 1]  # a whole number, and the least that it may be
_SHOWN = 80  # characters of a value
_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    Path: "a path",
    Mapping: "a dict",
    Sequence: "a list",
    Callable: "a function",
    NoneType: "None",
}


def checks_arguments(call: Callable[P, T]) -> Callable[P, T]:
    """Raise DarkroomError for an argument that is not of the kind that its annotation says, with all that would do.

    Errors of the call itself name its arguments too, where they say the command line's keys.
    """
    signature = inspect.signature(call)
    hints = {each.name: each.annotation for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD}

    @wraps(call)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in hints:
                check_kind(name, value, hints[name])
        try:
            return call(*args, **kwargs)
        except DarkroomError as error:
            error.args = (in_python(str(error)),)
            raise

    return checked


def check_kind(name: str, value: Any, hint: Any) -> None:
    """Raise DarkroomError where a value, or one that it holds, is not of the hint's kind; `name` is what it is called.

    Known are classes, Any, Literal, unions, Mapping, Sequence, Callable and Annotated whole numbers with their least.
    """
    choices = list(_alternatives(hint))
    fitting = [choice for choice in choices if _is(value, choice)]
    if not fitting:
        shown = text if len(text := repr(value)) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
        raise DarkroomError(f"{name}={shown}: {_needed(choices)}")
    kind, inner = get_origin(fitting[0]), get_args(fitting[0])
    if kind is Mapping:
        for key, item in value.items():
            check_kind(f"{name}: the key", key, inner[0])
            check_kind(f"{name}[{key!r}]", item, inner[1])
    if kind is Sequence:
        for place, item in enumerate(value):
            check_kind(f"{name}[{place}]", item, inner[0])


def _alternatives(hint: Any) -> Iterator[Any]:
    """The members of a union, those of unions in it too; else the hint."""
    if get_origin(hint) in (Union, UnionType):
        for member in get_args(hint):
            yield from _alternatives(member)
    else:
        yield hint


def _is(value: Any, hint: Any) -> bool:
    """Whether a value is of one kind, whatever it holds. Numbers of numpy count as Python's own."""
    kind = get_origin(hint) or hint
    is_number = not isinstance(value, str | bytes | bool)
    if kind is Any:
        return True
    if kind is Annotated:
        return is_number and hasattr(value, "__index__") and value >= hint.__metadata__[0]
    if kind is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if kind is int or kind is float:
        return (
            is_number and hasattr(value, "__index__" if kind is int else "__float__") and not hasattr(value, "__len__")
        )
    if kind is bool:
        return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")
    if kind is Path:
        return isinstance(value, PathLike)
    if kind is Sequence:  # arrays and columns of tables too
        is_listed = hasattr(value, "__len__") and hasattr(value, "__getitem__") and hasattr(value, "__iter__")
        return is_listed and not isinstance(value, str | bytes | Mapping)
    return callable(value) if kind is Callable else isinstance(value, kind)


def _needed(choices: Sequence[Any]) -> str:
    """What would do, in words."""
    named = [name for choice in choices if get_origin(choice) is Literal for name in get_args(choice)]
    kinds = [_described(choice) for choice in choices if get_origin(choice) is not Literal]
    if named:
        return f"no such choice; choices are {', '.join([*named, *kinds])}"
    return f"give {' or '.join(dict.fromkeys(kinds))}"


def _described(hint: Any) -> str:
    kind = get_origin(hint) or hint
    if kind is Annotated:
        return f"a whole number from {hint.__metadata__[0]} on"
    return _KINDS.get(kind, getattr(kind, "__name__", str(kind)))
