"""What is given and would do nothing, found in a composed configuration and refused with what it needs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from darkroom.api.evaluation_options import EvaluationOptions
from darkroom.conf.groups import EvaluateMode, TemplateMode
from darkroom.domain.axis_values import axis_values
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import ALSO_AN_AXIS, is_on_no_cell
from darkroom.domain.settings import ModelRef, Sampling, Setting, settings_of
from darkroom.jobs.composition import Choices, shipped_composition
from darkroom.jobs.nodes import place_of
from darkroom.jobs.refusals import shown


@dataclass(frozen=True)
class _Rule:
    keys: tuple[str, ...]  # a section stands for all keys in it
    is_used: Callable[[DictConfig], bool]  # also where the job has no such keys
    why: str  # it is not, and the remedy


def _selected(config: DictConfig, key: str) -> Any:
    return OmegaConf.select(config, key)


def _is_off(key: str, config: DictConfig) -> bool:
    return _selected(config, key) is not True


def _lacks(needed: str) -> str:
    return f"it does nothing without {needed}; give that, or leave it out"


def _axis_rule(section: str, setting: Setting) -> _Rule:
    """A value of a setting beside an axis of it."""
    key = f"{section}.{setting.name}"

    def is_used(config: DictConfig) -> bool:
        axis = _plain(_selected(config, f"grid.axes.{setting.name}"))
        if not axis or _selected(config, "grid.cells"):  # cells may have no value of their own
            return True
        value, axis = _plain(_selected(config, key)), axis_values(f"grid.axes.{setting.name}", setting, axis)
        return not is_on_no_cell(setting, tuple(value) if setting.is_list else value, axis)

    return _Rule((key,), is_used, ALSO_AN_AXIS)


def _is_inline(config: DictConfig) -> bool:
    return _selected(config, "evaluate") is EvaluateMode.inline


def _has_policy(config: DictConfig) -> bool:
    return bool(_selected(config, "policy"))


_OF_POLICY = ("extractors", "clip_convention")  # of an evaluation, that a policy reads too
_RULES = (
    _Rule(("evaluation",), lambda config: _is_inline(config) or _has_policy(config), _lacks("evaluate=inline")),
    _Rule(
        tuple(f"evaluation.{each.name}" for each in fields(EvaluationOptions) if each.name not in _OF_POLICY),
        lambda config: _is_inline(config) or not _has_policy(config),
        _lacks("evaluate=inline"),
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
        ("prompts.grow",),
        lambda config: _selected(config, "rewrite") is None,
        "it is of runs, and rewriting is into no run; leave it out",
    ),
    *(
        _Rule(
            ("num_images", "seed", "image_id", "device", "model"),
            partial(_is_off, key),  # of `verify`
            f"it does nothing beside {key}=true; leave one of them out",
        )
        for key in ("stored", "c2pa")
    ),
    _Rule(("trust_anchors",), lambda config: _selected(config, "c2pa") is True, _lacks("c2pa=true")),
    *(
        _axis_rule(section, setting)
        for section, table in (("sampling", Sampling), ("model", ModelRef))
        for setting in settings_of(table)
        if setting.axis
    ),
)


def check_used(config: DictConfig, choices: Choices, words: Sequence[str]) -> None:
    """Raises DarkroomError for what is given and does nothing, by these words of the command or by the user's files.

    A file may hold such keys with the values that they have anyway, as what `--cfg job` prints does.
    """
    file = choices.sources.config or choices.sources.config_dir
    for rule in (rule for rule in _RULES if not rule.is_used(config)):
        if given := _given_by_words(rule, config, choices, words):
            raise DarkroomError(f"{shown(given)}: {rule.why}")
        if file and (given := _another_value(rule, config, choices)):
            raise DarkroomError(f"{file}: {given}: {rule.why}")


def _given_by_words(rule: _Rule, config: DictConfig, choices: Choices, words: Sequence[str]) -> str | None:
    """A word of one of the rule's keys; or what one of a section above them holds."""
    named = {word.partition("=")[0]: word for word in words}
    for name, word in named.items():
        if any(f"{name}.".startswith(f"{key}.") for key in rule.keys):
            return word
    is_below = any(key.startswith(f"{name}.") for key in rule.keys for name in named)
    return _another_value(rule, config, choices) if is_below else None


def _another_value(rule: _Rule, config: DictConfig, choices: Choices) -> str | None:
    """The first key that has another value than Darkroom's own files give it, with that value."""
    shipped = shipped_composition(choices)
    for key in filter(partial(place_of, config), rule.keys):
        for name, value in _values(config, key):
            kept = _selected(shipped, name)
            usual = OmegaConf.structured(OmegaConf.get_type(_parent(config, name)))
            default = _selected(usual, name.rpartition(".")[2])
            if value not in (kept, default):
                return f"{name}={shown(_plain(value))}"
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
    if isinstance(value, Enum):
        return value.name
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
