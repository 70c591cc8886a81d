"""The reference of all settings and keys, in Markdown: name, type, default, range and help, from their declarations."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, get_origin

from omegaconf import MISSING

from darkroom.conf.groups import (
    GROUPS,
    MODEL_OPTIONS,
    PROMPTS,
    REWRITE,
    EvaluationConfig,
    ExpectationConfig,
    GridAxes,
    HalvingConfig,
    PolicyRuleConfig,
)
from darkroom.conf.keys import IS_SEVERAL, Key, keys_of, range_of
from darkroom.conf.schema import JOBS
from darkroom.conf.targets import TARGETS
from darkroom.domain.settings import ModelRef, Sampling, Setting, settings_of

_TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false"}
_SEVERAL = "text, list of texts, or texts by their names"
_SETTINGS_HEAD = ("setting", "type", "default", "range", "is", "what it is")
_KEYS_HEAD = ("key", "type", "default", "range", "what it is")
_OTHER_GROUPS = {"evaluation": EvaluationConfig, "halving": HalvingConfig}
_INTRO = """\
# Settings and keys

A key is given to a job as `key=value`; `darkroom <job> --help` lists those of one job. `null` stands for no value.

## Settings

What images are made with. An axis is a setting that the cells of a grid may differ in, such as
`grid.axes.guidance_scale=[1,3,5]`; a column of a row's setting in the prompt file overrides it for its row; a lossy one
makes another picture, for speed or for its look, and the report compares it with the same cell without it."""


def reference() -> str:
    """The page: the settings, the keys of each group, and the keys of each job that are in no group."""
    sections = [_INTRO, *(_settings(name, table) for name, table in {"sampling": Sampling, "model": ModelRef}.items())]
    sections += [_keys(f"model={name}", options, "model.options.") for name, options in MODEL_OPTIONS.items()]
    sections += ["## Keys of groups"]
    sections += [_keys(f"prompts={name}", schema, "prompts.") for name, schema in PROMPTS.items()]
    sections += [_keys(f"rewrite={name}", schema, "rewrite.") for name, schema in REWRITE.items()]
    sections += [_keys(f"to={name}", schema, "to.") for name, schema in TARGETS.items()]
    groups = {name: schema for name, schema in GROUPS.items() if name not in ("sampling", "model")} | _OTHER_GROUPS
    sections += [_keys(name, schema, f"{name}.") for name, schema in groups.items()]
    sections += [_keys("an entry of evaluation.expect", ExpectationConfig, "")]
    sections += [_keys("an entry of policy", PolicyRuleConfig, "")]
    sections += ["## Keys of jobs", *(_keys(f"darkroom {_job(name)}", schema, "") for name, schema in JOBS.items())]
    return "\n\n".join(sections) + "\n"


def _job(name: str) -> str:
    return "plan, darkroom generate" if name == "generate" else name


def _settings(name: str, table: type) -> str:
    rows = [_setting_row(name, each) for each in settings_of(table)]
    return f"### {name}\n\n{_table(_SETTINGS_HEAD, rows)}"


def _setting_row(group: str, each: Setting) -> Sequence[str]:
    kind = " or ".join(each.choices) if each.choices else "list" if each.is_list else _TYPES[each.kind]
    default = "`[]`" if each.is_list else _default(MISSING if each.default is NO_DEFAULT else each.default)
    marks = ", ".join(name for name in ("axis", "row", "lossy") if getattr(each, name))
    return f"`{group}.{each.name}`", kind, default, str(each.allowed or ""), marks, each.help


def _keys(title: str, schema: Any, prefix: str) -> str:
    return f"### {title}\n\n{_table(_KEYS_HEAD, [_key_row(each) for each in _shown_keys(schema, prefix)])}"


def _shown_keys(schema: Any, prefix: str) -> Iterator[Key]:
    """The keys of a schema, but for those in a group that has its own table."""
    elsewhere = [*GROUPS.values(), *_OTHER_GROUPS.values(), GridAxes]
    hidden: tuple[str, ...] = ()
    for each in keys_of(schema, prefix):
        if each.name.startswith(hidden) and hidden:
            continue
        if each.is_group and each.kind in elsewhere:
            hidden = (*hidden, f"{each.name}.")
        if not each.is_group or each.kind in elsewhere:
            yield each


def _key_row(each: Key) -> Sequence[str]:
    about, allowed = each.field.metadata, range_of(each.field.metadata)
    value = each.field.default if each.field.default_factory is NO_DEFAULT else each.field.default_factory()
    default = "" if each.is_group else _default(value)
    words = about.get("words", ())
    kind = " or ".join((_TYPES[int if allowed else bool], *words)) if words else _type(each.kind)
    kind = _SEVERAL if about.get(IS_SEVERAL) else kind
    return f"`{each.name}`", kind, default, str(allowed or ""), about["help"]


def _type(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(kind.__members__)
    if is_dataclass(kind):
        return "group"
    return _TYPES.get(kind) or ("list" if get_origin(kind) is list else "any value")


def _default(value: Any) -> str:
    if value == MISSING:
        return "must be given"
    if value == "":
        return "empty"
    if value is None or isinstance(value, bool):
        return {None: "`null`", True: "`true`", False: "`false`"}[value]
    return f"`{value.name if isinstance(value, Enum) else value}`".replace("'", "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
