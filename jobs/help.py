"""What is said of jobs and their keys: `--help`, and completion in a shell.

`eval "$(darkroom completion bash)"`, or zsh: the shell's script asks this program, with the words so far, what may come
next. Nothing is opened but configuration.
"""

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from omegaconf import BooleanNode, DictConfig, EnumNode, OmegaConf

from darkroom import __version__
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.arguments import Arguments, arguments, flags
from darkroom.jobs.composition import Choices, added_groups, groups, usual_choices
from darkroom.jobs.console import ExitCode
from darkroom.jobs.overrides import chosen

_NARROWEST, _WIDEST = 60, 120
COMPLETE = "--complete"
_BASH = """
_darkroom() {
    local line=${COMP_LINE:0:$COMP_POINT}
    local word=${line##* }
    local -a before
    read -ra before <<< "${line% *}"
    local IFS=$'\\n'
    COMPREPLY=($(darkroom --complete "$word" "${before[@]:1}" 2>/dev/null))
    case $word in *=*) COMPREPLY=("${COMPREPLY[@]#*=}") ;; esac
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} != *[=.] ]] || compopt -o nospace
    [[ ${#COMPREPLY[@]} -gt 0 ]] || compopt -o default
}
complete -F _darkroom darkroom
"""
_ZSH = """
_darkroom() {
    local -a found
    found=("${(@f)$(darkroom --complete "${words[CURRENT]}" "${(@)words[2,CURRENT-1]}" 2>/dev/null)}")
    if [[ -n $found ]]; then compadd -S '' -U -Q -- $found; else _files -P "${words[CURRENT]%%=*}="; fi
}
compdef _darkroom darkroom
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH}


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


# Completion --------------------------------------------------------------------------------------------------------


def completion(words: Sequence[str], jobs: Mapping[str, str]) -> str:
    """The script of a shell, or what may come in the place of the first of these words, after the others."""
    if len(words) == 1 and words[0] in _SCRIPTS:
        return _SCRIPTS[words[0]].strip()
    word, *before = words or [""]
    return "\n".join(each for each in _candidates(before, word, jobs) if each.startswith(word))


def _candidates(before: Sequence[str], word: str, jobs: Mapping[str, str]) -> Iterator[str]:
    if not before:
        yield from jobs
    elif before[0] in jobs:
        try:
            config, choices = chosen(arguments(before[0], [each for each in before[1:] if "=" in each]))
        except DarkroomError:
            return
        yield from flags()
        for group, names in {**groups(choices.sources), **_plus(added_groups(choices.sources))}.items():
            yield from (f"{group}={name}" for name in names) if word.startswith(f"{group}=") else [f"{group}="]
        yield from _key_words(config, "", word)


def _plus(added: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {f"+{group}": names for group, names in added.items()}


def _key_words(config: DictConfig, above: str, word: str) -> Iterator[str]:
    """Keys, section by section; values where the word names a key that has but a few."""
    for name in map(str, config):
        key = f"{above}{name}"
        node: Any = config._get_node(name, validate_access=False)
        if isinstance(node, DictConfig) and is_dataclass(OmegaConf.get_type(node)) and not node._is_none():
            yield from _key_words(node, f"{key}.", word) if word.startswith(f"{key}.") else [f"{key}."]
        elif word.startswith(f"{key}="):
            yield from (f"{key}={value}" for value in _value_words(node))
        else:
            yield f"{key}="


def _value_words(node: Any) -> list[str]:
    if isinstance(node, EnumNode):
        return list(node.enum_type.__members__)
    return ["true", "false"] if isinstance(node, BooleanNode) else []
