"""The user's files that Hydra composes: what is said of one that it cannot, and of values that it would change."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from darkroom.domain.errors import DarkroomError
from darkroom.jobs.defaults_lists import UsersFile, users_files
from darkroom.jobs.putting import Origin, Reader, Target, put
from darkroom.jobs.refusals import in_one_line, refuse_choice, refuse_key, refuse_override
from darkroom.jobs.scalars import with_scalars
from darkroom.jobs.sources import CONF, Sources, groups, read_yaml

_PACKAGE = re.compile(r"^\s*#\s*@package\s+(\S+)", re.MULTILINE)


def check_values(sources: Sources, choices: Mapping[str, str], config: DictConfig) -> None:
    """Raises DarkroomError for a value that a key does not take, or that YAML made another of: 0123 is 83 there.

    `choices`: of groups, as they are loaded; `config`: a configuration of the job.
    """
    config = deepcopy(config)
    for file in users_files(sources, choices):
        for key, value in _values(file):
            _check_no_choice(sources, file.path, key, value)
            put(_target(sources, file, config), Origin(Reader.HYDRA, file.path), key, value)


def _target(sources: Sources, file: UsersFile, config: DictConfig) -> Target:
    def no_key(key: str) -> DarkroomError:
        if key.partition(".")[0] == file.group and file.group not in groups(sources):
            said = f"its keys lie below {file.group}; begin the file with `# @package _global_`"
        else:
            said = str(refuse_key(sources.job, key, config, list(groups(sources)), ()))
        return DarkroomError(f"{file.path}: {said}")

    return Target(config, no_key)


def _values(file: UsersFile) -> Iterator[tuple[str, Any]]:
    """(key, value) of a file, by its package."""
    named = _PACKAGE.search(file.path.read_text("utf-8"))
    package = file.group.replace("/", ".") if named is None or named[1] == "_group_" else named[1]
    package = package.removeprefix("_global_").lstrip(".")
    for name, value in read_yaml(file.path).items():
        if name not in ("defaults", "hydra"):
            yield f"{package}.{name}" if package else str(name), value


def _check_no_choice(sources: Sources, path: Path, key: str, value: object) -> None:
    """Raises DarkroomError where a group's choice stands outside the defaults list, and is no choice there."""
    if key in groups(sources) and not isinstance(value, dict):
        choice = with_scalars(value, as_text=True)
        remedy = f"{{override /{key}: {choice}}}" if isinstance(choice, str) else "{override /model: sdxl}"
        raise DarkroomError(
            f"{path}: {key}: a choice stands in the file's defaults list; write `defaults: [{remedy}, _self_]`"
        )


# What is said of files that cannot be composed ------------------------------------------------------------------------

_FILE = re.compile(r"In '([^']+)': ")
_KEY = re.compile(r"Key '[^']+' not in .* full_key: (\S+)")
_VALUE = re.compile(r"raised while composing config: (.+) full_key: (\S+)")
_CHOICE = re.compile(r"Could not find '(.+)/([^/']+)'")
_GROUP = re.compile(r"Could not override '([^'@]+)")


def refuse_files(
    sources: Sources, choices: Mapping[str, str], own: DictConfig | None, error: Exception
) -> DarkroomError:
    """What the error means, with the file, and the key or choice that may be meant.

    `choices`: of the user's groups; `own`: the job's configuration without them.
    """
    try:
        if own is not None:
            check_values(sources, choices, own)
    except DarkroomError as found:
        return found
    cause = _cause(error)
    named = _FILE.search(cause)
    file, said = _file(sources, choices, named[1] if named else ""), _FILE.sub("", cause)
    if own is not None and (key := _KEY.search(cause)):
        said = str(refuse_key(sources.job, key[1], own, list(groups(sources)), ()))
    elif value := _VALUE.search(cause):
        said = f"{value[2]}: {value[1]}"
    elif (choice := _CHOICE.search(cause)) and choice[1] in groups(sources):
        said = str(refuse_choice(f"{choice[1]}={choice[2]}", choice[2], groups(sources)[choice[1]]))
    elif group := _GROUP.search(cause):
        said = str(refuse_override(sources.job, group[1], list(groups(sources))))
    return DarkroomError(f"{file}: {said}")


def _file(sources: Sources, choices: Mapping[str, str], name: str) -> str:
    """The user's file of this name among groups; else the one that a group of the user's is chosen by."""
    names = [name, *(f"{group}/{choice}" for group, choice in choices.items())]
    paths = [folder / f"{each}.yaml" for each in names if each for folder in sources.folders if folder != CONF]
    found = next((path for path in paths if path.is_file()), None)
    return str(found or sources.primary or sources.config_dir or sources.job)


def _cause(error: BaseException) -> str:
    """What Hydra says of it, and what it was made from."""
    said = in_one_line(error).partition("Config search path")[0].strip()
    return f"{said}: {_cause(error.__cause__)}" if error.__cause__ and str(error.__cause__) not in str(error) else said
