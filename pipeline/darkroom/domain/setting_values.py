"""Values of settings as they come, from a command, a call or a file, as what the table says that they are; and told
apart by their settings' names into the model's and those of sampling.
"""

import operator
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from difflib import get_close_matches
from os import PathLike
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from darkroom.domain.errors import DarkroomError, credentials_in, has_credentials
from darkroom.domain.settings import SETTINGS, ModelRef, Range, Sampling, Setting, Value, mapping_text, settings_of
from darkroom.domain.source_code import is_function_name

Table = TypeVar("Table")
ALSO_AN_AXIS = "it is an axis of the grid as well; leave one of them out"


def checked_value(setting: Setting, value: Any, label: str) -> Any:
    """As the setting's kind, in its range; `label` names it in errors. Raises DarkroomError."""
    if value is None and setting.is_optional:
        return None
    if setting.is_mapping:
        return checked_mapping(value, label)
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


def checked_mapping(value: Any, label: str) -> str | None:
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


# Settings by their names ---------------------------------------------------------------------------------------------


def sampling_defaults() -> dict[str, Value]:
    """What is asked for where nothing is said; None: what the model says."""
    return {each.name: each.default for each in settings_of(Sampling)}


def with_settings(
    model: ModelRef, sampling: Mapping[str, Value], settings: Mapping[str, Any]
) -> tuple[ModelRef, dict[str, Value]]:
    """Both with these settings by their names, checked; an unknown one is refused with the nearest name."""
    for name in settings:
        if name not in SETTINGS:
            raise DarkroomError(unknown(name, tuple(SETTINGS), "setting"))
    given: dict[str, Any] = {
        name: checked_value(SETTINGS[name], value, _key(SETTINGS[name])) for name, value in settings.items()
    }
    named = {each.name: given[each.name] for each in settings_of(ModelRef) if each.name in given}
    shaped = {each.name: given[each.name] for each in settings_of(Sampling) if each.name in given}
    return checked_model(replace(model, **named)), {**sampling, **shaped}


def check_beside_axes(given: Mapping[str, Any], axes: Mapping[str, Sequence[Value]]) -> None:
    """Raises DarkroomError for a value, of those that are given by their settings' names, that no cell would have."""
    for name, values in axes.items():
        if name in given and is_on_no_cell(SETTINGS[name], given[name], values):
            raise DarkroomError(f"{_key(SETTINGS[name])}={as_said(given[name])}: {ALSO_AN_AXIS}")


def is_on_no_cell(setting: Setting, value: Any, axis: Sequence[Any]) -> bool:
    """Whether a value has no effect, since the setting is an axis too; a default stands for none. What is no setting of
    images is the run's own as well."""
    is_of_run = setting in settings_of(Sampling) and not setting.of_image
    return not is_of_run and value not in (setting.default, *axis)


def _key(setting: Setting) -> str:
    return f"{'sampling' if setting in settings_of(Sampling) else 'model'}.{setting.name}"


def checked_model(model: ModelRef) -> ModelRef:
    """The same, with its settings as their kinds. Raises DarkroomError for a model without a name, or with a setting
    that cannot be."""
    model = checked_table(ModelRef, vars(model), "model")
    if not model.repo_id and not model.make:
        raise DarkroomError("model.repo_id has no value; give a hub id or a local folder, or model.make=my_module:make")
    if model.options and not model.make:
        raise DarkroomError("model.options: is for a renderer of one's own; leave it out, or give model.make=...")
    if model.make and not is_function_name(model.make):
        raise DarkroomError(f"model.make={model.make}: no name of a function; give it as my_module:make")
    if has_credentials(model.repo_id):
        raise credentials_in("model.repo_id")
    return model
