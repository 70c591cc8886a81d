"""Defaults lists of the user's files, checked before Hydra composes them.

https://hydra.cc/docs/advanced/defaults_list/
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.jobs.refusals import refuse_choice, refuse_override
from darkroom.jobs.sources import CONF, NULL, Sources, defaults_of, groups, usual_choices

_OVERRIDE = "override "


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
