"""Completion in a shell: `eval "$(darkroom completion bash)"`, or zsh.

The script asks the program that is typed, which need not be on the PATH, what may come next. Nothing
is opened but configuration.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from omegaconf import BooleanNode, DictConfig, EnumNode, OmegaConf, StringNode

from darkroom.conf.schema import WORDS_OF_ANOTHER
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.arguments import HELP, arguments, flags
from darkroom.jobs.composition import Choices
from darkroom.jobs.nodes import about
from darkroom.jobs.overrides import chosen
from darkroom.jobs.sources import added_groups, groups

COMPLETE = "--complete"  # followed by the word to complete, and the words before it
COMPLETE_LINE = "--complete-line"  # followed by the line as it is typed, up to the cursor
_BASH = """
_darkroom() {
    local IFS=$'\\n' word="${COMP_WORDS[COMP_CWORD]}" key="${COMP_WORDS[COMP_CWORD]%%=*}"
    COMPREPLY=($("${COMP_WORDS[0]/#\\~/$HOME}" --complete-line "${COMP_LINE:0:$COMP_POINT}" 2>/dev/null))
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} != *[=.] ]] || compopt -o nospace
    if [[ ${#COMPREPLY[@]} -eq 0 ]]; then
        compopt -o default
        [[ $word != [\\"\\']*=* ]] || COMPREPLY=($(compgen -f -P "${key:1}=" -- "${word#*=}"))
    fi
}
complete -F _darkroom darkroom
"""
_ZSH = """
_darkroom() {
    local -a found
    found=("${(@f)$(${~words[1]} --complete "${(Q)PREFIX}" "${(@Q)words[2,CURRENT-1]}" 2>/dev/null)}")
    if [[ -n $found ]]; then
        compadd -S '' -U -Q -- $found
    else
        compset -P '*='
        _files
    fi
}
compdef _darkroom darkroom
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH}
_OTHERS = ("help", "completion")  # words in the place of a job
_TRUTH = ("true", "false")


def script(words: Sequence[str]) -> str:
    """What a shell evaluates. Raises DarkroomError for a shell that there is none for."""
    if len(words) == 1 and words[0] in _SCRIPTS:
        return _SCRIPTS[words[0]].strip()
    use = 'write eval "$(darkroom completion bash)", or zsh, into the file that the shell starts with'
    said = "name a shell" if not words else f"{' '.join(words)}: no such shell"
    raise DarkroomError(f"completion: {said}; shells are {', '.join(_SCRIPTS)}: {use}")


def completion(words: Sequence[str], jobs: Mapping[str, str]) -> list[str]:
    """What may come in the place of the first of these words, after the others."""
    word, *before = words or [""]
    return [each for each in _candidates(before, word, jobs) if each.startswith(word)]


def line_completion(line: str, jobs: Mapping[str, str]) -> list[str]:
    """What may come at the end of a line that bash has up to there, without what bash keeps of the word."""
    (_, *before), word, start = _split(line)
    return [each[start:] for each in completion([word, *before], jobs)]


def _split(line: str) -> tuple[list[str], str, int]:
    """(the words before, the last one, how much of it bash keeps: up to a quote, `=` or `:`). A quote may be open."""
    words: list[str] = []
    word, quote, start, letters = "", "", 0, iter(line)
    for letter in letters:
        if letter == "\\" and quote != "'":
            word += next(letters, "")
        elif letter == quote or (not quote and letter in "'\""):
            quote, start = "" if quote else letter, len(word)
        elif quote or not letter.isspace():
            word += letter
            start = len(word) if not quote and letter in "=:" else start
        else:
            words += [word] if word else []
            word, start = "", 0
    return words, word, start


def _candidates(before: Sequence[str], word: str, jobs: Mapping[str, str]) -> Iterator[str]:
    if not before:
        yield from (*jobs, *_OTHERS)
    elif before[0] in _OTHERS:
        yield from () if before[1:] else jobs if before[0] == "help" else _SCRIPTS
    elif before[0] in jobs:
        job, *given = _units(before)
        if given and given[-1] == ("--cfg",):
            yield "job"
        elif not (given and given[-1][0] in flags() and len(given[-1]) == 1):
            config, choices = _usable(job[0], given)
            yield from _next_words(config, choices, word)
            if job[0] in WORDS_OF_ANOTHER and not OmegaConf.is_missing(config, "job"):
                yield from _candidates([config.job.name, *config[WORDS_OF_ANOTHER[job[0]]]], word, jobs)


def _units(before: Sequence[str]) -> list[tuple[str, ...]]:
    """The words, each flag with the value that follows it; without what asks for help."""
    units: list[tuple[str, ...]] = []
    for each in before:
        if units and units[-1][0] in flags() and len(units[-1]) == 1:
            units[-1] += (each,)
        elif each not in HELP:
            units.append((each,))
    return units


def _usable(job: str, units: Sequence[Sequence[str]]) -> tuple[DictConfig, Choices]:
    """What is chosen by the words that can be used; one that is wrong, or not yet whole, is left out."""
    try:
        return chosen(arguments(job, [each for unit in units for each in unit]))
    except DarkroomError:
        pass
    used: list[str] = []
    found = chosen(arguments(job, used))
    for unit in units:
        try:
            found = chosen(arguments(job, [*used, *unit]))
        except DarkroomError:
            continue
        used += unit
    return found


def _next_words(config: DictConfig, choices: Choices, word: str) -> Iterator[str]:
    yield from flags()
    for group, names in {**groups(choices.sources), **_plus(added_groups(choices.sources))}.items():
        yield from (f"{group}={name}" for name in names) if word.startswith(f"{group}=") else [f"{group}="]
    yield from _key_words(config, "", word)


def _plus(added: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {f"+{group}": names for group, names in added.items()}


def _key_words(config: DictConfig, above: str, word: str) -> Iterator[str]:
    """Keys, section by section; values where the word names a key that has but a few."""
    said = about(config)
    for name in map(str, config):
        key = f"{above}{name}"
        node: Any = config._get_node(name, validate_access=False)
        if isinstance(node, DictConfig) and is_dataclass(OmegaConf.get_type(node)) and not node._is_none():
            yield from _key_words(node, f"{key}.", word) if word.startswith(f"{key}.") else [f"{key}."]
        elif word.startswith(f"{key}="):
            yield from (f"{key}={value}" for value in _value_words(name, node, said.get(name, {})))
        else:
            yield f"{key}="


def _value_words(name: str, node: Any, said: Mapping[str, Any]) -> list[str]:
    """`said`: what the schema says of the key."""
    if isinstance(node, EnumNode):
        return list(node.enum_type.__members__)
    if words := said.get("words"):
        return [*words, *([] if "low" in said else _TRUTH)]
    if isinstance(node, BooleanNode):
        return list(_TRUTH)
    return _known_texts(name) if isinstance(node, StringNode) else []


def _known_texts(name: str) -> list[str]:
    """Texts that are known of a key that may have others; imported late, since they take a while to load."""
    from darkroom.evaluation.reference_free import CLIP_CONVENTIONS
    from darkroom.rendering.schedulers import DEFAULT, SCHEDULERS

    known = {"scheduler": (DEFAULT, *SCHEDULERS), "clip_convention": tuple(CLIP_CONVENTIONS)}
    return list(known.get(name, ()))
