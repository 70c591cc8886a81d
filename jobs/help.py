"""What is said of jobs and their keys: `darkroom`, and `darkroom <job> --help`. Nothing is opened but configuration."""

import shutil
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from omegaconf import DictConfig, OmegaConf

from darkroom import __version__
from darkroom.jobs.arguments import Arguments, flags
from darkroom.jobs.composition import Choices, added_groups, groups, usual_choices
from darkroom.jobs.console import ExitCode
from darkroom.jobs.overrides import chosen

_NARROWEST, _WIDEST = 60, 120


def overview(jobs: Mapping[str, str]) -> str:
    """Of `darkroom` alone."""
    lines = "\n".join(f"  {name:<12} {text}" for name, text in jobs.items())
    codes = "\n".join(f"  {code:<12} {code.meaning}" for code in ExitCode)
    return (
        f"darkroom {__version__}: prompts in, a committed dataset of images out\n\n"
        f"usage: darkroom <job> [key=value ...]\n\n{lines}\n\n"
        f"exit codes; of several, the last one of this list:\n{codes}\n\n"
        "`darkroom <job> --help` shows a job's keys and defaults; `darkroom completion bash|zsh` completes them."
    )


def job_help(given: Arguments, does: str) -> str:
    """A job's flags, groups and keys, as they are with what is chosen on the command line so far."""
    job = given.sources.job
    config, choices = chosen(given)
    sections = [
        f"darkroom {job}: {does}",
        f"usage: darkroom {job} [flags] [group=choice ...] [key=value ...]",
        "flags:\n" + "\n".join(_explained(name, text) for name, text in flags().items()),
    ]
    if groups(given.sources) or added_groups(given.sources):
        sections.append("groups, each with its choices; the first is chosen:\n" + "\n".join(_groups(choices)))
    sections.append("keys, each with its value so far:\n" + "\n".join(_keys(config)))
    return "\n\n".join(sections)


def _groups(choices: Choices) -> Iterator[str]:
    usual = {**usual_choices(choices.sources), **choices.usual}
    for group, names in groups(choices.sources).items():
        first = usual[group]
        yield f"  {group}={'|'.join([first, *(name for name in names if name != first)])}"
    for group, names in added_groups(choices.sources).items():
        yield f"  +{group}={'|'.join(names)}"


def _keys(config: DictConfig, above: str = "") -> Iterator[str]:
    """One line a key, and its sentence where the schema has one."""
    sentences = _sentences(config)
    for name in map(str, config):
        node: Any = config._get_node(name, validate_access=False)
        key = f"{above}{name}"
        if isinstance(node, DictConfig) and is_dataclass(OmegaConf.get_type(node)) and not node._is_none():
            yield from _keys(node, f"{key}.")
        else:
            value = "..." if node._is_missing() else _text(OmegaConf.to_container(config).get(name))  # type: ignore[union-attr]
            yield _explained(f"{key}={value}", sentences.get(name, ""))


def _sentences(config: DictConfig) -> dict[str, str]:
    kind: Any = OmegaConf.get_type(config)
    return {each.name: each.metadata.get("help", "") for each in fields(kind)} if is_dataclass(kind) else {}


def _text(value: Any) -> str:
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_text(item)}" for name, item in value.items()) + "}"
    return str(value)


def _explained(start: str, sentence: str) -> str:
    """The sentence beside it where both fit, else in lines below."""
    width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    beside = f"  {start:<36} {sentence}".rstrip()
    if len(start) <= 36 and len(beside) <= width:
        return beside
    return "\n".join([f"  {start}", *textwrap.wrap(sentence, width, initial_indent=" " * 6, subsequent_indent=" " * 6)])
