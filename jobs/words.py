"""The words that compose a job's configuration again, where none of the user's files are."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from omegaconf import DictConfig, OmegaConf

from darkroom.conf.groups import PLUG_IN_MODELS
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.arguments import Arguments
from darkroom.jobs.composition import Choices, composition, made_choices
from darkroom.jobs.nodes import Place, about
from darkroom.jobs.overrides import checked, composed
from darkroom.jobs.sources import NULL, Sources, groups, usual_choices
from darkroom.runs.commands import argument


def plain_words(given: Arguments) -> tuple[list[str], DictConfig]:
    """(choices of Darkroom's own groups, then keys with values; what they compose): equal configurations have equal
    words.

    Raises DarkroomError for what `composed` refuses, and for a value that no word says.
    """
    job = given.sources.job
    config, choices = checked(given)
    shipped = Sources(job)
    picked = _picked(config, choices)
    base = composition(shipped, picked)
    usual = usual_choices(shipped)
    words = [f"{group}={choice}" for group, choice in picked.items() if choice != usual[group]]
    words += [argument(key, value) for key, value in _differences(config, base)]
    again = composed(job, words)
    for key, value in _differences(config, again):
        raise DarkroomError(f"{key}={value}: no word of a command says that; give it on the command line")
    return words, again


def _picked(config: DictConfig, choices: Choices) -> dict[str, str]:
    """Of each group Darkroom's own choice that is made; where the user's is, one whose keys are the same."""
    shipped = Sources(choices.sources.job)
    made, usual = made_choices(choices), usual_choices(shipped)
    picked = {}
    for group, known in groups(shipped).items():
        choice = made.get(group, NULL)
        picked[group] = choice if choice in known else _alike(shipped, group, [usual[group], *known], config)
    return picked


def _alike(shipped: Sources, group: str, known: list[str], config: DictConfig) -> str:
    kind, first = OmegaConf.get_type(config, group), [each for each in PLUG_IN_MODELS if each in known]
    found = (each for each in [known[0], *first, *known] if _kind(shipped, group, each) is kind)
    return next(found)


def _kind(shipped: Sources, group: str, choice: str) -> Any:
    return OmegaConf.get_type(composition(shipped, {group: choice}), group)


def _differences(config: DictConfig, base: DictConfig, above: str = "") -> Iterator[tuple[str, Any]]:
    """(key, value) of what is another in `config`."""
    said, values, others = about(config), _plain(config), _plain(base)
    for name in values:
        node, other = (each._get_node(name, validate_access=False) for each in (config, base))
        if _is_section(node, said.get(name, {})) and _is_section(other, said.get(name, {})):
            yield from _differences(node, other, f"{above}{name}.")
        elif values[name] != others[name]:
            yield f"{above}{name}", values[name]


def _is_section(node: Any, said: Mapping[str, Any]) -> TypeGuard[DictConfig]:
    return node is not None and Place(node, said).is_section


def _plain(config: DictConfig) -> dict[str, Any]:
    """With what its files fill in; keys without a value are `???`."""
    contents: dict[str, Any] = OmegaConf.to_container(config, resolve=True, enum_to_str=True)  # type: ignore[assignment]
    return contents
