"""Commands that are printed to be copied: each runs when it is pasted into a shell.

And models that have a name of their own there: the files of conf/model that say which model they are.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path

import yaml

from darkroom.domain.setting_values import checked_table
from darkroom.domain.settings import ModelRef
from darkroom.storage.store import StoreSpec

_FOLDER = Path(__file__).parents[1] / "conf" / "model"
_BARE = re.compile(r"[A-Za-z0-9_./@%+:-]+")
_KEYWORDS = {"null", "true", "false"}
_QUOTES = re.compile(r'(\\*)("|\Z)')  # with the backslashes before them


def on_run(job: str, store: StoreSpec, **settings: object) -> str:
    """A job on a run that is there."""
    return called_by_name(job, store, **settings).replace("darkroom", program(), 1)


def called_by_name(job: str, store: StoreSpec, **settings: object) -> str:
    """The same for a page, which is read on other machines too."""
    place = {"run": store.uri} | ({"endpoint_url": store.endpoint_url} if store.endpoint_url else {})
    return " ".join(["darkroom", job, *(word(name, value) for name, value in (place | settings).items())])


def program() -> str:
    """What starts Darkroom here: its name where a shell finds it, else the path beside this Python, else the module."""
    beside = Path(sys.executable).with_name("darkroom")
    if shutil.which("darkroom"):
        return "darkroom"
    return shlex.quote(str(beside)) if beside.exists() else shlex.join([sys.executable, "-m", "darkroom"])


def word(name: str, value: object) -> str:
    """`name=value`, ready for a shell."""
    return shlex.quote(argument(name, value))


def argument(name: str, value: object) -> str:
    """The same as a process is given it. A text is taken whole; what is in a list or in keys with values is read by
    Hydra's grammar. https://hydra.cc/docs/advanced/override_grammar/basic/"""
    return f"{name}={_whole(value) if isinstance(value, str) else _hydra(value)}"


# Values ------------------------------------------------------------------------------------------------------------


def as_written(value: object) -> object:
    """A value as a person writes it: of an entry of a list, the keys that say something."""
    if isinstance(value, Mapping):
        return {name: as_written(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_written(item) for item in value]
    if is_dataclass(value):
        return {each.name: given for each in fields(value) if (given := getattr(value, each.name)) != each.default}
    return value


def _hydra(value: object) -> str:
    value = as_written(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value).removesuffix(".0")
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{_hydra(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_hydra, value)) + "]"
    return _text(str(value))


def _text(text: str) -> str:
    """Quoted where it would be read as anything but this text."""
    if _BARE.fullmatch(text) and text.lower() not in _KEYWORDS and not _is_number(text):
        return text
    return _quoted(text)


def _whole(text: str) -> str:
    """As it is, unless that would be read as none, or without the quotes around it."""
    return _quoted(text) if text == "null" or text[:1] in ("'", '"') else text


def _quoted(text: str) -> str:
    return '"' + _QUOTES.sub(lambda found: found[1] * 2 + ('\\"' if found[2] else ""), text) + '"'


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# Models by name ------------------------------------------------------------------------------------------------------


@cache
def presets() -> Mapping[str, ModelRef]:
    """Name to model with its usual settings."""
    files = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted(_FOLDER.glob("*.yaml"))}
    keys = {name: {key: value for key, value in file.items() if key != "defaults"} for name, file in files.items()}
    named = {name: given for name, given in keys.items() if given.keys() & {"repo_id", "make"}}
    return {name: checked_table(ModelRef, {"repo_id": "", **given}, "model") for name, given in named.items()}


def with_preset(ref: ModelRef, name: str) -> ModelRef:
    """The preset of this name in the place of another model: its usual settings, but where `ref` says something else
    than is usual of its own model.
    """
    known = [each for each in presets().values() if each.repo_id == ref.repo_id] or [ModelRef(ref.repo_id)]
    said = [{each: value for each, value in vars(ref).items() if value != getattr(usual, each)} for usual in known]
    return replace(presets()[name], **min(said, key=len))  # of several with one model, by the one that it is most like


def preset_of(repo_id: str) -> str | None:
    """The name of a model that comes with Darkroom; one of a hub is named by its id."""
    return next((name for name, ref in presets().items() if ref.repo_id == repo_id and _is_embedded(ref)), None)


def _is_embedded(ref: ModelRef) -> bool:
    return ref.repo_id.startswith("darkroom/")
