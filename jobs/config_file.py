"""A user's own file of keys: which choices of groups it makes, and which values it gives.

A group stands in it as a word (`model: sdxl`), or as keys with values, whose `kind` makes the choice where there is
one. So what `--cfg job` prints is such a file. One with a defaults list is Hydra's, and composed as a job's own is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from omegaconf import OmegaConf

from darkroom.domain.errors import DarkroomError
from darkroom.jobs.composition import NULL, Sources, groups, read_yaml
from darkroom.jobs.refusals import refuse_choice

_MISSING = "???"  # how a key is printed that has no value yet


@dataclass(frozen=True)
class ConfigFile:
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
        kept = {name: dict(_given(name, item)).get(name) for name, item in value.items() if item != _MISSING}
        yield key, kept
    elif value != _MISSING:
        yield key, value
