"""Completion in a shell: `eval "$(darkroom completion bash)"`, or zsh.

The shell's script asks this program, with the words so far, what may come next. Nothing is opened but configuration.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from omegaconf import BooleanNode, DictConfig, EnumNode, OmegaConf

from darkroom.domain.errors import DarkroomError
from darkroom.jobs.arguments import arguments, flags
from darkroom.jobs.composition import added_groups, groups
from darkroom.jobs.overrides import chosen

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
        yield from _keys(config, "", word)


def _plus(added: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {f"+{group}": names for group, names in added.items()}


def _keys(config: DictConfig, above: str, word: str) -> Iterator[str]:
    """Keys, section by section; values where the word names a key that has but a few."""
    for name in map(str, config):
        key = f"{above}{name}"
        node: Any = config._get_node(name, validate_access=False)
        if isinstance(node, DictConfig) and is_dataclass(OmegaConf.get_type(node)) and not node._is_none():
            yield from _keys(node, f"{key}.", word) if word.startswith(f"{key}.") else [f"{key}."]
        elif word.startswith(f"{key}="):
            yield from (f"{key}={value}" for value in _values(node))
        else:
            yield f"{key}="


def _values(node: Any) -> list[str]:
    if isinstance(node, EnumNode):
        return list(node.enum_type.__members__)
    return ["true", "false"] if isinstance(node, BooleanNode) else []
