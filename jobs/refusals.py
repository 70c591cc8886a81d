"""What is said of a word of the command line that cannot be used: the reason, the choices and the nearest of them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from omegaconf import BooleanNode, DictConfig, EnumNode, FloatNode, IntegerNode, ListConfig, Node, StringNode

from darkroom.domain.errors import DarkroomError

_QUOTES = "text in it with more than letters and digits goes in quotes, as ['a b','c, d']"
_NEEDED: Mapping[type, str] = {
    IntegerNode: "a whole number",
    FloatNode: "a number",
    BooleanNode: "true or false",
    StringNode: "a text",
    ListConfig: f"a list, such as [a,b]; {_QUOTES}",
    DictConfig: f"keys with values, such as {{a: 1}}; {_QUOTES}",
}
_ANY = f"a number, a word, a list or keys with values; {_QUOTES}"
_MEANT = {"grid.axes.model": "grid.axes.repo_id"}  # a key that is likely to be tried -> what it is called


def refuse_word(job: str, word: str, groups: Mapping[str, Sequence[str]]) -> DarkroomError:
    """No `key=value`."""
    group, _, choice = word.partition("/")
    if group in groups:
        return DarkroomError(f"{shown(word)}: write {group}=...; {_among(choice, groups[group], f'{group}=')}")
    return DarkroomError(f"{shown(word)}: no key=value; see `darkroom {job} --help`")


def refuse_added(job: str, key: str, groups: Mapping[str, Sequence[str]]) -> DarkroomError:
    """No group of the user's folder."""
    name = key.removeprefix("+")
    if groups:
        return DarkroomError(f"{shown(key)}: no such group in --config-dir; {_among(name, list(groups), '+')}")
    return DarkroomError(
        f"{shown(key)}: keys cannot be added to this job, only set; a group of your own is found by --config-dir, see "
        f"`darkroom {job} --help`"
    )


def refuse_choice(said: str, choice: str, known: Sequence[str]) -> DarkroomError:
    """No file of a group."""
    group = said.partition("=")[0]
    hint = "; a model of your own is model=diffusers model.repo_id=..." if group == "model" else ""
    return DarkroomError(f"{shown(said)}: no such choice; {_among(choice, known, f'{group}=')}{hint}")


def refuse_override(job: str, written: str, known: Sequence[str]) -> DarkroomError:
    """No group that a file of the user's can override, or one that it names without the slash."""
    group = written.lstrip("/")
    if group in known:
        return DarkroomError(f"override {group}: groups are named from the top here; write `override /{group}`")
    return DarkroomError(f"override {written}: no such group of `darkroom {job}`; {_among(group, known)}")


def refuse_enum(said: str, choice: str, known: Sequence[str]) -> DarkroomError:
    """No member."""
    return DarkroomError(f"{shown(said)}: no such choice; {_among(choice, known)}")


def refuse_key(job: str, key: str, config: DictConfig, groups: Sequence[str], homes: Sequence[str]) -> DarkroomError:
    """No key of this job; `homes`: choices of its group that do have it."""
    section = key.rpartition(".")[0]
    if homes:
        return DarkroomError(f"{key}: the key needs {' or '.join(homes)} beside it")
    nearest = _MEANT.get(key) or nearest_key(key, [*_keys(config), *groups])
    start = f"did you mean {nearest}? Keys" if nearest else "keys"
    siblings = _siblings(config, section)
    where = section if siblings else "the job"
    names = siblings or list(dict.fromkeys([*map(str, config), *groups]))
    return DarkroomError(f"{key}: no such key of `darkroom {job}`; {start} of {where} are {', '.join(names)}")


def refuse_value(said: str, node: Node, error: Exception | None = None) -> DarkroomError:
    """Not what the key's type takes; `error`: what the schema says of it."""
    reason = next((line.strip() for line in str(error).splitlines() if "Key '" in line), "") if error else ""
    return DarkroomError(f"{shown(said)}: {f'{reason}; ' if reason else ''}give {_needed(node)}")


def refuse_null(said: str, node: Node, *, may_be_empty: bool, is_in_file: bool) -> DarkroomError:
    """A key that needs a value."""
    word = "'null' with its quotes" if is_in_file else "\"'null'\" with both pairs of quotes"
    texts = f"'' for an empty text, or {word} for that word" if may_be_empty else f"{word} for that word"
    needed = texts if isinstance(node, StringNode) else _needed(node)
    return DarkroomError(f"{shown(said)}: null is no value of it; give {needed}")


def refuse_empty(said: str, *, is_optional: bool) -> DarkroomError:
    """A place, or a text that may be left out, that is given as no text at all."""
    return DarkroomError(f"{shown(said)}: the value is empty; give one{', or null for none' if is_optional else ''}")


def refuse_unquoted(said: str, key: str, value: object) -> DarkroomError:
    """What Hydra's grammar reads as a number or a truth value, where a text is needed."""
    text = shown(value)
    return DarkroomError(f"{shown(said)}: {key} takes text, and {text} is none; put it in quotes, such as '{text}'")


def refuse_number(key: str, text: str, value: float) -> DarkroomError:
    """What YAML reads as another number than it looks like."""
    return DarkroomError(
        f"{key}: {text} is {value} to YAML; write {value}, or the number that is meant as plain digits"
    )


def _needed(node: Node) -> str:
    if isinstance(node, EnumNode):
        return f"one of {', '.join(node.enum_type.__members__)}"
    return next((text for kind, text in _NEEDED.items() if isinstance(node, kind)), _ANY)


def nearest_key(key: str, known: Sequence[str]) -> str | None:
    """The first that goes on as the key does, or ends as it does; else the one that looks most like it."""
    name = key.rpartition(".")[2]
    longer = [each for each in known if each.startswith(key)]
    elsewhere = [each for each in known if each.rpartition(".")[2] == name]
    return next(iter(longer + elsewhere + get_close_matches(key, known, 1)), None)


def _among(choice: str, known: Sequence[str], prefix: str = "") -> str:
    close = get_close_matches(choice.lower(), known, 1, 0.5)
    found = f"did you mean {prefix}{close[0]}? " if close else ""
    return f"{found}Choices are {', '.join(known)}" if found else f"choices are {', '.join(known)}"


def _keys(config: DictConfig, above: str = "") -> Iterator[str]:
    for name in config:
        node = config._get_node(name)
        yield f"{above}{name!s}"
        if isinstance(node, DictConfig) and not node._is_none():
            yield from _keys(node, f"{above}{name!s}.")


def _siblings(config: DictConfig, section: str) -> list[str]:
    """The keys of a section; none where it is no section."""
    node: Any = config if section else None
    for part in section.split("."):
        node = node._get_node(part) if isinstance(node, DictConfig) and part in node else None
    return list(map(str, node)) if isinstance(node, DictConfig) and not node._is_none() else []


def shown(value: Any) -> str:
    """In one line, as a person writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value).replace("\n", "\\n")


def in_one_line(error: BaseException) -> str:
    """What a library says, without its blank lines and the types that it speaks of."""
    lines = (line.strip() for line in str(error).splitlines())
    return " ".join(line for line in lines if line and not re.match(r"(reference|object)_type=", line))
