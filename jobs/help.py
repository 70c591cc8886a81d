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
from darkroom.jobs.composition import Choices
from darkroom.jobs.console import ExitCode
from darkroom.jobs.overrides import chosen
from darkroom.jobs.sources import added_groups, groups, usual_choices

_NARROWEST, _WIDEST = 30, 120


def overview(jobs: Mapping[str, str]) -> str:
    """Of `darkroom` alone."""
    lines = "\n".join(_explained(name, text, 12) for name, text in jobs.items())
    codes = "\n".join(_explained(str(code.value), code.meaning, 12) for code in ExitCode)
    return "\n\n".join(
        [
            _wrapped(f"darkroom {__version__}: prompts in, a committed dataset of images out"),
            f"usage: darkroom <job> [key=value ...]\n\n{lines}",
            f"{_wrapped('exit codes; of several, the last one of this list:')}\n{codes}",
            _wrapped(
                "`darkroom <job> --help` shows a job's keys and defaults; `darkroom completion bash|zsh` completes "
                "them."
            ),
        ]
    )


def job_help(given: Arguments, does: str) -> str:
    """A job's flags, groups and keys, as they are with what is chosen on the command line so far."""
    job = given.sources.job
    config, choices = chosen(given)
    sections = [
        _wrapped(f"darkroom {job}: {does}"),
        _wrapped(f"usage: darkroom {job} [flags] [group=choice ...] [key=value ...]"),
        "flags:\n" + "\n".join(_explained(name, text) for name, text in flags().items()),
    ]
    if groups(given.sources) or added_groups(given.sources):
        sections.append(
            _wrapped("groups, each with its choices; the first is chosen:") + "\n" + "\n".join(_groups(choices))
        )
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


def _explained(start: str, sentence: str, column: int = 36) -> str:
    """The sentence beside it where both fit, else in lines below."""
    beside = f"  {start:<{column}} {sentence}".rstrip()
    if len(start) <= column and len(beside) <= _width():
        return beside
    indent = " " * 6
    return "\n".join(
        [f"  {start}".rstrip(), *textwrap.wrap(sentence, _width(), initial_indent=indent, subsequent_indent=indent)]
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _width(), break_on_hyphens=False)


def _width() -> int:
    return min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
