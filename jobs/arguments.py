"""A job's command line apart: where its configuration comes from, its words `key=value`, and what is asked about it.

Among its flags is a file of keys. A group stands in it as a word (`model: sdxl`), or as keys with values, whose `kind`
makes the choice where there is one. So what `--cfg job` prints is such a file. One with a defaults list is Hydra's, and
composed as a job's is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from darkroom.domain.errors import DarkroomError
from darkroom.jobs.composition import NULL, Sources, groups, read_yaml
from darkroom.jobs.refusals import refuse_choice

_MISSING = "???"  # how a key is printed that has no value yet


class Show(Enum):
    """What is printed in place of doing the job."""

    help = "help"
    config = "config"


@dataclass(frozen=True)
class Arguments:
    sources: Sources
    words: tuple[str, ...]
    show: Show | None = None


_HELP = ("-h", "--help")
_FLAGS = {  # flag -> (whether a value follows it, what it is for)
    "--config": "a YAML file of keys, as `--cfg job` prints them; words of the command win over it",
    "--config-dir": "a folder of groups of your own, such as experiment/mine.yaml for +experiment=mine",
    "--cfg": "`--cfg job` prints the configuration as it is chosen so far, and does nothing",
    "--help": "prints the keys of what is chosen so far, with their defaults",
}


def flags() -> dict[str, str]:
    """Each with a sentence."""
    return dict(_FLAGS)


def arguments(job: str, words: Sequence[str]) -> Arguments:
    """Raises DarkroomError for an unknown flag, or one without its value."""
    values: dict[str, str] = {}
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        flag, sign, value = word.partition("=")
        if flag in _HELP:
            values["--help"] = "job"
        elif not flag.startswith("-"):
            rest.append(word)
        elif flag not in _FLAGS:
            raise DarkroomError(f"{flag}: no such flag of `darkroom {job}`; flags are {', '.join(_FLAGS)}")
        elif flag in values:
            raise DarkroomError(f"{flag} is given twice; give it once")
        elif not (value or left):
            raise DarkroomError(f"{flag}: its value is missing; it takes {_FLAGS[flag]}")
        else:
            values[flag] = value if sign else left.pop(0)
    return Arguments(_sources(job, values), tuple(rest), _show(values))


def _sources(job: str, values: dict[str, str]) -> Sources:
    config, folder = values.get("--config"), values.get("--config-dir")
    if folder and not Path(folder).expanduser().is_dir():
        raise DarkroomError(f"--config-dir {folder}: no such folder")
    if config and not Path(config).expanduser().is_file():
        raise DarkroomError(f"--config {config}: no such file")
    return Sources(job, *(Path(path).expanduser() if path else None for path in (config, folder)))


def _show(values: dict[str, str]) -> Show | None:
    if values.get("--cfg", "job") != "job":
        raise DarkroomError(f"--cfg {values['--cfg']}: no such choice; give --cfg job")
    if "--help" in values:
        return Show.help
    return Show.config if "--cfg" in values else None


# The file of `--config` ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConfigFile:
    """A user's file of keys: which choices of groups it makes, and which values it gives."""

    sources: Sources

    def choices(self) -> dict[str, str]:
        """Group to choice. Raises DarkroomError for one that there is not."""
        found = {group: self._choice(group, value) for group, value in self._keys.items() if group in self._groups}
        return {group: choice for group, choice in found.items() if choice}

    def values(self) -> Iterator[tuple[str, Any]]:
        """(key, value), as far as they are not choices; a value may be keys with values of their own."""
        for key, value in self._keys.items():
            if not (key in self._groups and (value is None or isinstance(value, str))):
                yield from _given(key, value)

    @cached_property
    def _keys(self) -> dict[str, Any]:
        if self.sources.config is None or self.sources.primary:
            return {}
        keys: Any = OmegaConf.to_container(read_yaml(self.sources.config))
        return {str(key): value for key, value in keys.items()}

    @cached_property
    def _groups(self) -> dict[str, list[str]]:
        return groups(self.sources)

    def _choice(self, group: str, value: Any) -> str | None:
        known = self._groups[group]
        if isinstance(value, dict):
            return value["kind"] if value.get("kind") in known else None
        choice = NULL if value is None else value
        if not isinstance(choice, str):
            raise DarkroomError(f"{self.sources.config}: {group}={value}: give one of {', '.join(known)}, or its keys")
        if choice not in known:
            raise refuse_choice(f"{group}={choice}", choice, known)
        return choice


def _given(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Without what only says that a value is missing."""
    if isinstance(value, dict):
        given = {name: dict(_given(name, item)).get(name) for name, item in value.items() if item != _MISSING}
        yield key, given
    elif value != _MISSING:
        yield key, value
