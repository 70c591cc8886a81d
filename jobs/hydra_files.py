"""The user's files that Hydra composes, checked before it does: their defaults lists, and values that it would change.

https://hydra.cc/docs/advanced/defaults_list/
"""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from darkroom.domain.errors import DarkroomError
from darkroom.jobs.putting import Origin, Reader, Target, put
from darkroom.jobs.refusals import in_one_line, refuse_choice, refuse_key, refuse_override
from darkroom.jobs.sources import CONF, NULL, Sources, defaults_of, groups, read_yaml, usual_choices, with_scalars

_OVERRIDE = "override "
_PACKAGE = re.compile(r"^\s*#\s*@package\s+(\S+)", re.MULTILINE)
_FILE = re.compile(r"In '([^']+)': ")
_KEY = re.compile(r"Key '[^']+' not in .* full_key: (\S+)")
_VALUE = re.compile(r"raised while composing config: (.+) full_key: (\S+)")
_CHOICE = re.compile(r"Could not find '(.+)/([^/']+)'")
_GROUP = re.compile(r"Could not override '([^'@]+)")


@dataclass(frozen=True)
class UsersFile:
    """A file that Hydra loads."""

    path: Path
    group: str  # that it is chosen in; empty: none


def check_defaults(sources: Sources, choices: Mapping[str, str]) -> None:
    """Raises DarkroomError for a list that Hydra would not take, or would take as another than it says.

    `choices`: of groups, also of those that no defaults list has.
    """
    _check_names(sources)
    if sources.primary:
        _check_primary(sources, sources.primary)
    for file in users_files(sources, choices):
        for group, choice in _overrides(file.path):
            _check_override(sources, file.path, group, choice)


def users_files(sources: Sources, choices: Mapping[str, str]) -> list[UsersFile]:
    """The user's own that are loaded, with those that their defaults lists name. Raises DarkroomError for a circle."""
    roots = [_Entry("", sources.primary.stem)] if sources.primary else []
    roots += [_Entry(group, choice) for group, choice in choices.items()]
    found = dict.fromkeys(file for root in roots for file in _reached(sources, root, ()))
    return [file for file in found if CONF.absolute() not in file.path.absolute().parents]


@dataclass(frozen=True)
class _Entry:
    """Of a defaults list, with its group from the top."""

    group: str
    choice: str

    @property
    def name(self) -> str:
        return f"{self.group}/{self.choice}" if self.group else self.choice


def _reached(sources: Sources, entry: _Entry, above: tuple[_Entry, ...]) -> Iterator[UsersFile]:
    """The entry's file, and those that it names, at any depth; `above`: entries on the way to it."""
    path = sources.file(entry.name)
    if path is None:
        return
    if entry in above:
        circle = " -> ".join(str(sources.file(each.name)) for each in (*above[above.index(entry) :], entry))
        raise DarkroomError(f"{path}: its defaults list leads back to itself ({circle}); take that entry out")
    yield UsersFile(path, entry.group)
    for each in _named(path, entry.group):
        yield from _reached(sources, each, (*above, entry))


def _named(path: Path, above: str) -> Iterator[_Entry]:
    """What a file's defaults list names; `above`: the group that the file is chosen in."""
    for item in defaults_of(path):
        for key, choice in item.items() if isinstance(item, dict) else [("", item)]:
            words = str(key).partition("@")[0].removeprefix("optional ")
            group = words.removeprefix(_OVERRIDE).strip()
            is_from_top = group.startswith("/") or words.startswith(_OVERRIDE) or not above
            group = group.strip("/") if is_from_top else "/".join(filter(None, [above, group]))
            for each in choice if isinstance(choice, list) else [choice]:
                name = str(each).partition("@")[0]
                yield _Entry("", name[1:]) if name.startswith("/") else _Entry(group, name)


def _overrides(path: Path) -> Iterator[tuple[str, Any]]:
    """(group, choice) of each entry `override group: choice`, with the group as it is written."""
    for item in defaults_of(path):
        for key, choice in item.items() if isinstance(item, dict) else ():
            if str(key).startswith(_OVERRIDE) and "@" not in str(key):
                yield str(key).removeprefix(_OVERRIDE).strip(), choice


def _check_names(sources: Sources) -> None:
    """Raises DarkroomError for a file of the user's that would stand, unseen, in the place of one of Darkroom's."""
    folders = [folder for folder in sources.folders if folder.absolute() != CONF.absolute()]
    for group in usual_choices(sources):
        for folder in folders:
            for path in sorted((folder / group).glob("*.yaml")):
                if (CONF / group / path.name).exists() or path.stem == "schema":
                    raise DarkroomError(f"{path}: {group}={path.stem} is a choice of Darkroom's own; rename the file")


def _check_primary(sources: Sources, primary: Path) -> None:
    if primary.suffix != ".yaml":
        raise DarkroomError(f"{primary}: Hydra reads a file with a defaults list where it ends in .yaml; rename it")
    if "_self_" not in defaults_of(primary):
        raise DarkroomError(
            f"{primary}: its defaults list lacks `_self_`; add `- _self_` at the end for its keys to win"
        )
    if primary.stem == sources.job:
        raise DarkroomError(f"{primary}: a file with a defaults list cannot be called {primary.name}; rename it")
    job = CONF / f"{sources.job}.yaml"
    alike = [path for path in sorted(CONF.glob("*.yaml")) if defaults_of(path)[0] == defaults_of(job)[0]]
    if not any(file.path in alike for file in _reached(sources, _Entry("", primary.stem), ())):
        raise DarkroomError(f"{primary}: begin its defaults list with `- {alike[0].stem}`, whose keys it then has")


def _check_override(sources: Sources, path: Path, written: str, choice: Any) -> None:
    group, known = written.lstrip("/"), groups(sources)
    if group.startswith("hydra/"):
        return
    is_found = written.startswith("/") or path == sources.primary
    if group not in known or not is_found:
        raise DarkroomError(f"{path}: {refuse_override(sources.job, written, list(known))}")
    said = f"{group}={NULL if choice is None else choice}"
    if not isinstance(choice, str | None) or (choice is None and NULL not in known[group]):
        raise DarkroomError(f"{path}: override {said}: give one of {', '.join(known[group])}")
    if choice is not None and "${" not in choice and choice not in known[group]:
        raise DarkroomError(f"{path}: {refuse_choice(said, choice, known[group])}")


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
