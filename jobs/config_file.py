"""The file of `--config`: choices of groups, and keys with values.

A group stands in it as a word (`model: sdxl`), or as keys with values, whose `kind` makes the choice where there is
one; the choices of other groups stand below `choices`. So what `--cfg job` prints is such a file, and makes the same
configuration again: a key without a value is `???` there. A key of text takes a number or a truth value as it is
written: 007 is not 7 there. A file with a defaults list is Hydra's, and composed as a job's is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from omegaconf import DictConfig, OmegaConf

from darkroom.domain.errors import DarkroomError
from darkroom.jobs.composition import Choices, made_choices
from darkroom.jobs.refusals import refuse_choice
from darkroom.jobs.sources import NULL, Sources, groups, read_yaml, with_scalars

CHOICES = "choices"  # the key that groups' choices stand below


@dataclass(frozen=True)
class ConfigFile:
    """A user's file of keys: which choices of groups it makes, and which values it gives."""

    sources: Sources

    def choices(self) -> dict[str, str]:
        """Group to choice. Raises DarkroomError for one that there is not, and for two of one group."""
        named = {group: self._named(group, value) for group, value in self._listed.items()}
        found = {group: self._choice(group, value) for group, value in self._keys.items() if group in self._groups}
        for group in named.keys() & found.keys():
            if found[group] and found[group] != named[group]:
                said = f"{self.sources.config}: {CHOICES}.{group} is {named[group]} and {group} is {found[group]}"
                raise DarkroomError(f"{said}; give one of them")
        return named | {group: choice for group, choice in found.items() if choice}

    def values(self, said: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
        """(key, value), as far as they are not choices; a value may be keys with values of their own.

        `said`: choices of the command. One that is another than the file's takes the place of the keys below the group.
        """
        own = self.choices()
        for key, value in self._keys.items():
            is_choice = key in self._groups and not isinstance(value, dict)
            if not is_choice and own.get(key) in (None, said.get(key, own.get(key))):
                yield key, value

    @cached_property
    def _all(self) -> dict[str, Any]:
        if self.sources.config is None or self.sources.primary:
            return {}
        return {str(key): value for key, value in read_yaml(self.sources.config).items()}

    @cached_property
    def _keys(self) -> dict[str, Any]:
        return {key: value for key, value in self._all.items() if key != CHOICES}

    @cached_property
    def _listed(self) -> Mapping[str, Any]:
        listed = self._all.get(CHOICES, {})
        if not isinstance(listed, dict):
            raise DarkroomError(f"{self.sources.config}: {CHOICES}={listed}: give groups, such as {{model: sdxl}}")
        return listed

    @cached_property
    def _groups(self) -> dict[str, list[str]]:
        return groups(self.sources)

    def _named(self, group: str, value: Any) -> str:
        if group not in self._groups:
            said = f"{self.sources.config}: {CHOICES}.{group}: no such group of `darkroom {self.sources.job}`"
            raise DarkroomError(f"{said}; groups are {', '.join(self._groups) or 'none'}")
        choice = None if isinstance(value, dict) else self._choice(group, value)
        if choice is None:
            known = ", ".join(self._groups[group])
            raise DarkroomError(f"{self.sources.config}: {CHOICES}.{group}={value}: give one of {known}")
        return choice

    def _choice(self, group: str, value: Any) -> str | None:
        known = self._groups[group]
        if isinstance(value, dict):
            return value["kind"] if value.get("kind") in known else None
        choice = NULL if value is None else with_scalars(value, as_text=True)
        if not isinstance(choice, str):
            raise DarkroomError(f"{self.sources.config}: {group}={value}: give one of {', '.join(known)}, or its keys")
        if choice not in known:
            if value is None:
                raise DarkroomError(f"{self.sources.config}: {group} has no keys; give some, or leave it out")
            raise DarkroomError(f"{self.sources.config}: {refuse_choice(f'{group}={choice}', choice, known)}")
        return choice


def config_text(config: DictConfig, choices: Choices) -> str:
    """The configuration as such a file. A choice of the user's own folder is not named: all of its keys are there."""
    own = groups(Sources(choices.sources.job))
    made = {
        group: choice
        for group, choice in made_choices(choices).items()
        if choice in own.get(group, ()) and len(own[group]) > 1 and not _has_kind(config, group)
    }
    text = OmegaConf.to_yaml(config).rstrip()
    return f"{OmegaConf.to_yaml({CHOICES: made})}{text}" if made else text


def _has_kind(config: DictConfig, group: str) -> bool:
    return group in config and "kind" in config[group]
