"""Keys that another key leaves unused: what is given of them is refused, with the key that would use them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from darkroom.conf.groups import EvaluateMode, TemplateMode
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.composition import Choices, own_composition
from darkroom.jobs.nodes import place_of
from darkroom.jobs.refusals import shown


@dataclass(frozen=True)
class _Rule:
    keys: tuple[str, ...]  # a section stands for all keys in it
    is_used: Callable[[DictConfig], bool]  # also where the job has no such keys
    why: str  # it is not, and the remedy


def _selected(config: DictConfig, key: str) -> Any:
    return OmegaConf.select(config, key)


def _lacks(needed: str) -> str:
    return f"it does nothing without {needed}; give that, or leave it out"


_RULES = (
    _Rule(
        ("evaluation",), lambda config: _selected(config, "evaluate") is EvaluateMode.inline, _lacks("evaluate=inline")
    ),
    _Rule(
        ("halving.num_images", "halving.keep"),
        lambda config: _selected(config, "halving.figure") is not None,
        _lacks("halving.figure=..."),
    ),
    _Rule(("grid.seed",), lambda config: _selected(config, "grid.num_cells") is not None, _lacks("grid.num_cells=...")),
    _Rule(
        ("prompts.seed", "prompts.num_prompts"),
        lambda config: _selected(config, "prompts.mode") is not TemplateMode.product,
        _lacks("prompts.mode=random"),
    ),
    _Rule(
        ("num_images", "seed", "image_id", "device", "model"),
        lambda config: not _selected(config, "stored"),  # of `verify`
        "it does nothing beside stored=true; leave one of them out",
    ),
)


def check_used(config: DictConfig, choices: Choices, words: Sequence[str]) -> None:
    """Raises DarkroomError for what is given and does nothing, by these words of the command or by the user's files.

    A file may hold such keys with the values that they have anyway, as what `--cfg job` prints does.
    """
    for rule in _RULES:
        if not rule.is_used(config):
            given = next((word for word in words if _is_in(rule, word.partition("=")[0])), None)
            if given or (given := _given_in_a_file(config, choices, rule)):
                raise DarkroomError(f"{shown(given)}: {rule.why}")


def _is_in(rule: _Rule, name: str) -> bool:
    return any(name == key or name.startswith(f"{key}.") for key in rule.keys)


def _given_in_a_file(config: DictConfig, choices: Choices, rule: _Rule) -> str | None:
    """The first key that has another value than Darkroom's own files give it, with that value."""
    if not (choices.sources.config or choices.sources.config_dir):
        return None
    own = own_composition(choices)
    for key in filter(partial(place_of, config), rule.keys):
        for name, value in _values(config, key):
            kept = _selected(own, name)
            default = OmegaConf.structured(OmegaConf.get_type(_parent(config, name)))[name.rpartition(".")[2]]
            if value not in (kept, default):
                return f"{choices.sources.config or choices.sources.config_dir}: {name}={shown(_plain(value))}"
    return None


def _values(config: DictConfig, key: str) -> Iterator[tuple[str, Any]]:
    value = _selected(config, key)
    if isinstance(value, DictConfig):
        for name in map(str, value):
            yield from _values(config, f"{key}.{name}")
    else:
        yield key, value


def _parent(config: DictConfig, key: str) -> DictConfig:
    section = key.rpartition(".")[0]
    return _selected(config, section) if section else config


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
