"""From a job, the folders and files of a user's configuration, and choices of groups to what Hydra composes.

https://hydra.cc/docs/advanced/compose_api/ and https://hydra.cc/docs/advanced/search_path/
"""

import threading
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from darkroom.conf import schema
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.hydra_files import check_defaults, check_values, refuse_files
from darkroom.jobs.nodes import settle
from darkroom.jobs.sources import CONF, NULL, Sources, groups, usual_choices

_COMPOSING = threading.Lock()  # Hydra keeps what it composes in one place of the process


def composition(sources: Sources, choices: Mapping[str, str], added: Mapping[str, str] | None = None) -> DictConfig:
    """The configuration with these choices of groups; `added`: choices of groups that no defaults list has.

    Raises DarkroomError for a file that cannot be composed.
    """
    config = _composed(sources, choices, added or {})
    with open_dict(config):
        del config["hydra"]
    settle(config)
    return config


def _composed(sources: Sources, choices: Mapping[str, str], added: Mapping[str, str]) -> DictConfig:
    """With what Hydra says of itself, below `hydra`."""
    if sources == Sources(sources.job) and not added:
        return deepcopy(_own(sources.job, tuple(choices.items())))
    return _by_hydra(sources, choices, added)


@cache
def _own(job: str, choices: tuple[tuple[str, str], ...]) -> DictConfig:
    """The same of Darkroom's own files, which stay as they are: Hydra takes a quarter of a second."""
    return _by_hydra(Sources(job), dict(choices), {})


def _by_hydra(sources: Sources, choices: Mapping[str, str], added: Mapping[str, str]) -> DictConfig:
    asked = {**usual_choices(sources), **choices, **added}
    check_defaults(sources, asked)
    primary, [first, *others] = sources.primary, sources.folders
    words = [f"hydra.searchpath=[{','.join(_quoted(f'file://{path.absolute()}') for path in others)}]"]
    words += [f"{group}={_quoted(choice)}" for group, choice in choices.items() if choice != NULL]
    words += [f"+{group}={_quoted(choice)}" for group, choice in added.items()]
    if primary is None and first != CONF:  # Hydra wants the job's file in the first folder
        first, words[0] = CONF, f"hydra.searchpath=[{_quoted(f'file://{first.absolute()}')}]"
    try:
        with _COMPOSING, initialize_config_dir(str(first.absolute()), version_base="1.3"):
            schema.register(sources.job)
            config: DictConfig = compose(primary.stem if primary else sources.job, words, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError, TypeError) as error:
        raise refuse_files(sources, asked, _shipped(sources), error) from error
    if primary and OmegaConf.get_type(config) is not OmegaConf.get_type(_shipped(sources)):
        raise DarkroomError(f"{primary}: begin its defaults list with `- {sources.job}`, whose keys it then has")
    check_values(sources, _made(config), config)
    return config


def _shipped(sources: Sources) -> DictConfig | None:
    """The job's configuration without files of the user's; None where there are none."""
    return composition(Sources(sources.job), {}) if sources.config or sources.config_dir else None


def shipped_composition(choices: "Choices") -> DictConfig:
    """The job's configuration with the choices that are made of Darkroom's own, and without files of the user's."""
    own = Sources(choices.sources.job)
    known = groups(own)
    return composition(own, {name: it for name, it in made_choices(choices).items() if it in known.get(name, ())})


def _made(config: DictConfig) -> dict[str, str]:
    """Group to choice, as Hydra has composed it."""
    made = config.hydra.runtime.choices
    return {str(group): str(choice) for group, choice in made.items() if choice not in (None, NULL)}


@dataclass(frozen=True)
class Choices:
    """What of the groups is chosen."""

    sources: Sources
    usual: Mapping[str, str]  # of groups in the defaults list
    added: Mapping[str, str]  # of the user's groups, as in +experiment=mine

    def config(self) -> DictConfig:
        return composition(self.sources, self.usual, self.added)

    def but(self, group: str, choice: str) -> "Choices":
        return replace(self, usual={**self.usual, group: choice})


def made_choices(choices: Choices) -> dict[str, str]:
    """Group to choice, as they are in the end: also those that a preset or an experiment makes."""
    return _made(_composed(choices.sources, choices.usual, choices.added))


def _quoted(text: str) -> str:
    """For Hydra's grammar."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
