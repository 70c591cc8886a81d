"""Check what a caller gives by its annotations, before any work: the arguments of calls, which errors name as the call
does, and fields of options, each declared with its default, range and help.
"""

import inspect
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, field, fields, is_dataclass
from functools import wraps
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from darkroom.domain.errors import DarkroomError
from darkroom.domain.process import check_working_folder
from darkroom.domain.setting_values import as_builtin, as_number, converted, converted_or_none, unknown
from darkroom.domain.settings import SETTINGS

P = ParamSpec("P")
T = TypeVar("T")
Options = TypeVar("Options")
Count = Annotated[int, 1]  # a whole number, and the least that it may be
_RENAMED = {"output.uri": "out", "model.repo_id": "model", "prompts.uri": "prompts", "evaluate=inline": "evaluate=True"}


_RENAMED |= {"prompts.endpoint_url": "prompts_endpoint_url", "output.watermark.text": "watermark"}
_GROUPS = ("output", "prompts", "grid", "evaluation")  # their keys are arguments of the same names, or fields of one
_SETTING = "|".join(sorted(SETTINGS, key=len, reverse=True))
_VALUES = {"true": "True", "false": "False", "null": "None"}
# A key where a word may begin: not within a path, an address or a longer name; commands in backticks stay.
_KEY = re.compile(
    rf"`[^`]*`|(?<![\w/.:-])(?P<key>(?:{'|'.join(map(re.escape, _RENAMED))})\b"
    rf"|(?:sampling|model)\.(?:{_SETTING})\b|(?:{'|'.join(_GROUPS)})\.[a-z_]+(?:\.[a-z_]+)*)"
    r"(?P<value>=(?:true|false|null)\b)?"
)
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


def in_python(text: str) -> str:
    """The text with the command line's keys, and true, false and null after them, as Python has them."""
    return _KEY.sub(lambda found: _argument(found["key"]) + _value(found["value"]) if found["key"] else found[0], text)


def _argument(key: str) -> str:
    if key in _RENAMED:
        return _RENAMED[key]
    group, _, name = key.partition(".")
    for names in ("grid.axes.", "prompts.columns."):  # whose keys are those of a dict
        if key.startswith(names):
            return f"{names.split('.')[1]}[{key.removeprefix(names)!r}]"
    return f"evaluate.{name}" if group == "evaluation" else name


def _value(text: str | None) -> str:
    return f"={_VALUES[text[1:]]}" if text else ""


def checks_arguments(call: Callable[P, T]) -> Callable[P, T]:
    """Raise DarkroomError for an argument that is not of the kind that its annotation says, with all that would do.

    Errors of the call itself name its arguments too, where they say the command line's keys.
    """
    signature = inspect.signature(call)
    hints = {each.name: each.annotation for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD}

    @wraps(call)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(*args, **kwargs)
        given = bound.arguments.items()
        bound.arguments |= {name: checked_kind(name, value, hints[name]) for name, value in given if name in hints}
        try:
            return call(*bound.args, **bound.kwargs)
        except DarkroomError as error:
            error.args = (in_python(str(error)),)
            raise
        except FileNotFoundError:
            check_working_folder()
            raise
        except RuntimeError as error:
            if threading.main_thread().is_alive():
                raise
            raise DarkroomError(
                "the main thread of this program has ended, and Python starts no more work for others; have it join() "
                "the thread that calls darkroom; what was committed stays, and the same call goes on"
            ) from error

    return checked


def checked_kind(name: str, value: Any, hint: Any) -> Any:
    """The value, with numbers, truth values and arrays of other libraries in it as Python's own.

    Raises DarkroomError where it, or a value that it holds, is not of the hint's kind; `name` is what it is called.
    Known are classes, Any, Literal, unions, Mapping, Sequence, Callable and Annotated whole numbers with their least.
    """
    if hint is Any:
        return value
    value = as_builtin(value)
    choices = list(_alternatives(hint))
    fitting = [choice for choice in choices if _is(value, choice)]
    if not fitting:
        shown = text if len(text := repr(value)) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
        raise DarkroomError(f"{name}={shown}: {_needed(choices)}")
    kind, inner = get_origin(fitting[0]) or fitting[0], get_args(fitting[0])
    if kind is Path:
        return Path(os.fsdecode(value))  # the text of what is like a path, as an entry of os.scandir, is another
    if kind is Mapping:
        return {
            checked_kind(f"{name}: the key", key, inner[0]): checked_kind(f"{name}[{key!r}]", item, inner[1])
            for key, item in value.items()
        }
    if kind is Sequence:
        items = [checked_kind(f"{name}[{place}]", item, inner[0]) for place, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    return as_number(value, float if kind is float else int) if kind in (int, float, Annotated) else value


def _alternatives(hint: Any) -> Iterator[Any]:
    """The members of a union, those of unions in it too; else the hint."""
    if get_origin(hint) in (Union, UnionType):
        for member in get_args(hint):
            yield from _alternatives(member)
    else:
        yield hint


def _is(value: Any, hint: Any) -> bool:
    """Whether a value is of one kind, whatever it holds."""
    kind = get_origin(hint) or hint
    if kind is Any:
        return True
    if kind is Annotated:
        number = as_number(value, int)
        return number is not None and number >= hint.__metadata__[0]
    if kind is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if kind is int or kind is float:
        return as_number(value, kind) is not None
    if kind is Path:
        return isinstance(value, PathLike)
    if kind is Sequence:
        is_listed = hasattr(value, "__len__") and hasattr(value, "__getitem__") and hasattr(value, "__iter__")
        return is_listed and not isinstance(value, str | bytes | Mapping)
    if kind is Callable:
        return callable(value) and not inspect.iscoroutinefunction(value)  # which would be called and never run
    return isinstance(value, kind)


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
    is_of_options = is_dataclass(kind) and all(each.metadata for each in fields(kind))  # which a caller writes
    return f"{kind.__name__}(...)" if is_of_options else _KINDS.get(kind, getattr(kind, "__name__", str(kind)))


# Options -------------------------------------------------------------------------------------------------------------


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
    is_several: bool = False,
    on_ray: bool = False,
    jobs: tuple[str, ...] = (),
) -> Any:
    """A number from `low` to `high`, or one of `words`; a truth value, or one of `words`; a text, or one of `choices`;
    keys with values; with `is_several`, a text, a list of texts, or texts by their names.

    With `is_place`, it may name a file or folder of this machine; with `on_ray`, it is of workers on Ray alone.
    `jobs`: those that alone read it; empty: all.
    """
    about: dict[str, Any] = {"help": help, "choices": choices, "words": words, "is_place": is_place, "jobs": jobs}
    about["on_ray"] = on_ray
    about |= {"is_mapping": True} if is_mapping else {}
    about |= {"is_several": True} if is_several else {}
    return field(default=default, metadata=about | ({} if low is None else {"low": low, "high": high}))


def options_of(kind: type[Options], given: Options | Mapping[str, Any], what: str) -> Options:
    """Options, which may be given as their names and values."""
    if isinstance(given, kind):
        return given
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    values: Mapping[str, Any] = checked_kind(what, given, Mapping[str, Any])
    for name in values:
        if name not in known:
            raise DarkroomError(f"{what}: {unknown(name, known, 'option')}")
    for each in fields(kind):  # type: ignore[arg-type]
        if each.default is MISSING and each.default_factory is MISSING and each.name not in values:
            raise DarkroomError(f"{what}: {each.name} is missing; give it, and any of {', '.join(known)}")
    return kind(**values)


def check_options(options: Any, prefix: str) -> None:
    """Types, choices and ranges of a value's fields, which are set as Python's own values."""
    for each in fields(options):
        value, about = getattr(options, each.name), each.metadata
        hint = get_type_hints(type(options))[each.name]
        if isinstance(hint, type) and is_dataclass(hint):
            value = options_of(hint, value or {}, f"{prefix}{each.name}")
        elif about.get("is_mapping"):
            value = _checked_mapping(f"{prefix}{each.name}", value)
        elif about.get("is_several"):
            value = _checked_texts(f"{prefix}{each.name}", value)
        elif about["words"]:
            value = (_number_or_word if "low" in about else _truth_or_word)(f"{prefix}{each.name}", value, about)
        elif _takes_list(options, each.name):
            value = _checked_list(options, each.name, value)
        else:
            value = converted_or_none(each.name, hint, value)
            _check_value(f"{prefix}{each.name}", value, {**about, "default": each.default})
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


def _checked_texts(name: str, value: Any) -> Any:
    """A text, some in a list, or some by their names; paths are texts too."""
    value = as_builtin(value)
    if isinstance(value, Mapping):
        return {str(key): converted(f"{name}.{key}", str, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [converted(f"{name}[{place}]", str, item) for place, item in enumerate(value)]
    return None if value is None else converted(name, str, value)


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
    if about["choices"] and value not in (*about["choices"], about["default"]):
        raise DarkroomError(f"{name}={value}: no such choice; choices are {', '.join(about['choices'])}")
    if "low" in about and value is not None and not about["low"] <= value <= about["high"]:
        raise DarkroomError(f"{name}={value} is out of range; give a number from {about['low']} to {about['high']}")
