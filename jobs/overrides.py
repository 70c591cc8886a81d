"""From the words of a command line to a checked configuration.

What a shell passes whole is taken whole: the value of a key that the schema calls text is that text, whatever is in it.
Lists, dicts and numbers are read by Hydra's grammar. https://hydra.cc/docs/advanced/override_grammar/basic/
"""

import os.path
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, EnumNode, FloatNode, IntegerNode, ListConfig, Node, OmegaConf, StringNode, ValueNode
from omegaconf.errors import OmegaConfBaseException

from darkroom.conf import schema
from darkroom.conf.keys import IS_PLACE, check_ranges
from darkroom.domain.errors import DarkroomError, credentials_in, has_credentials
from darkroom.jobs.refusals import refuse_choice, refuse_enum, refuse_key, refuse_value, refuse_word

_CONF = Path(schema.__file__).parent
_KEY = re.compile(r"[^\W\d]\w*(\.\w+)*")
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_INTERPOLATION = re.compile(r"(\\*)\$\{")
_NULL = "null"
_COMPOSING = threading.Lock()  # Hydra keeps what it composes in one place of the process


@dataclass(frozen=True)
class Given:
    """One `key=text` of the command."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}={self.text}"


def composed(job: str, words: Sequence[str]) -> DictConfig:
    """The job's configuration. Raises DarkroomError for an unknown key, a wrong type or a missing value."""
    given = [_given(job, word) for word in words]
    chosen = [item for item in given if item.key in groups(job) and not item.text.startswith("{")]
    choices = {item.key: _chosen(job, item) for item in chosen}
    config = composition(job, choices)
    for item in given:
        if item not in chosen:
            _set(config, job, item, choices)
    missing = sorted(str(key) for key in OmegaConf.missing_keys(config))
    if missing:
        raise DarkroomError(f"{missing[0]} has no value; give it as {missing[0]}=..., see `darkroom {job} --help`")
    check_ranges(config)
    return config


def composition(job: str, choices: Mapping[str, str]) -> DictConfig:
    """The job's defaults, with these choices of its groups."""
    schema.register()
    with _COMPOSING, initialize_config_dir(str(_CONF), version_base="1.3"):
        return compose(job, [f"{group}={choice}" for group, choice in choices.items() if choice != _NULL])


@cache
def groups(job: str) -> dict[str, list[str]]:
    """The job's groups, each with its choices: the files of its folder, and none where none is the default."""
    listed: Any = OmegaConf.to_container(OmegaConf.load(_CONF / f"{job}.yaml"))
    defaults = {name: usual for item in listed["defaults"] if isinstance(item, dict) for name, usual in item.items()}
    return {group: [*_files(group), *([_NULL] if usual is None else [])] for group, usual in defaults.items()}


def _files(group: str) -> list[str]:
    return sorted(path.stem for path in (_CONF / group).glob("*.yaml"))


def escaped(text: str) -> str:
    """A text as a configuration holds it, where `${...}` would else be filled in."""
    return _INTERPOLATION.sub(lambda found: found[1] * 2 + "\\${", text)


def _given(job: str, word: str) -> Given:
    key, sign, text = word.partition("=")
    if any("\ud800" <= letter <= "\udfff" for letter in word):  # what Python makes of bytes that it cannot decode
        raise DarkroomError(
            f"{key if key.isascii() else 'a word'}: it has bytes that are no letters of this locale "
            f"({sys.getfilesystemencoding()}); set PYTHONUTF8=1, or rename what it names"
        )
    if key.startswith("+"):
        raise DarkroomError(f"{key}: keys cannot be added to this job, only set; see `darkroom {job} --help`")
    if not (sign and _KEY.fullmatch(key)):
        raise refuse_word(job, key, groups(job))
    if key.rpartition(".")[2] not in schema.PROMPT_TEXTS and has_credentials(_unquoted(text)):
        raise credentials_in(key)
    return Given(key, text)


def _chosen(job: str, item: Given) -> str:
    """One of a group's choices."""
    choice, known = _unquoted(item.text), groups(job)[item.key]
    if choice not in known:
        raise refuse_choice(str(item), choice, known)
    return choice


# One key -----------------------------------------------------------------------------------------------------------


def _set(config: DictConfig, job: str, item: Given, choices: Mapping[str, str]) -> None:
    parent, node = _place(config, item.key)
    if node is None:
        raise refuse_key(job, item.key, config, list(groups(job)), _homes(job, item.key, choices))
    value = _value(item, parent, node)
    try:
        OmegaConf.update(config, item.key, value, merge=True, force_add=_is_free(node))
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise refuse_value(str(item), node, error) from error


def _place(config: DictConfig, key: str) -> tuple[Node, Node | None]:
    """(what the key lies in, what it names); below a value of any shape that value itself, and None for no such key."""
    parent: Node = config
    node: Node = config
    for part in key.split("."):
        if isinstance(node, ListConfig) or _is_free(node):
            return parent, node
        found = _child(node, part)
        if found is None:
            return parent, None
        parent, node = node, found
    return parent, node


def _child(node: Node, name: str) -> Node | None:
    """Also one that has no value yet."""
    if not isinstance(node, DictConfig) or node._is_none():
        return None
    child: Any = node._get_node(name, validate_access=False)
    return child


def _is_free(node: Node) -> bool:
    """A value of any shape, also one that has got its shape."""
    return node._metadata.ref_type is Any and (isinstance(node, ValueNode) or OmegaConf.get_type(node) is dict)


def _value(item: Given, parent: Node, node: Node) -> Any:
    if isinstance(node, StringNode):
        return _text(item, parent, node)
    if isinstance(node, EnumNode):
        choice = _unquoted(item.text.strip())
        if choice not in node.enum_type.__members__:
            raise refuse_enum(str(item), choice, list(node.enum_type.__members__))
        return choice
    return _parsed(item, node)


def _text(item: Given, parent: Node, node: StringNode) -> str | None:
    """The text itself; in one pair of quotes, what is in them. `null` is none where there may be none."""
    if item.text == _NULL and node._is_optional():
        return None
    text, is_place = _unquoted(item.text), _is_place(parent, item.key)
    if not text and (is_place or node._is_optional()):
        none = f", or {item.key}={_NULL} for none" if node._is_optional() else ""
        raise DarkroomError(f"{item}: the value is empty; give one{none}")
    return escaped(_at_home(text) if is_place else text)


def _is_place(parent: Node, key: str) -> bool:
    kind: Any = OmegaConf.get_type(parent)
    return any(field.name == key.rpartition(".")[2] and IS_PLACE in field.metadata for field in fields(kind))


def _at_home(text: str) -> str:
    """With `~` as a shell fills it in; no Path, which would change an address."""
    return os.path.expanduser(text)  # noqa: PTH111


def _unquoted(text: str) -> str:
    """Without one pair of Hydra's quotes around all of it, and the backslashes that they need inside."""
    return _parse(f"value={text}").value() if _QUOTED.fullmatch(text) else text


def _parsed(item: Given, node: Node) -> Any:
    """Any other value, by Hydra's grammar; its texts are texts, and nothing is filled in."""
    try:
        override = _parse(f"value={item.text}")
    except HydraException as error:
        raise refuse_value(str(item), node) from error
    if not override.is_sweep_override():
        return _escaped_in(override.value())
    if isinstance(node, IntegerNode | FloatNode):
        raise DarkroomError(f"{item}: one value is needed here; `darkroom sweep grid.axes...=[...]` takes several")
    raise refuse_value(str(item), node)


def _parse(override: str) -> Any:
    return OverridesParser.create().parse_override(override)


def _escaped_in(value: Any) -> Any:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, list):
        return [_escaped_in(item) for item in value]
    if isinstance(value, dict):
        return {name: _escaped_in(item) for name, item in value.items()}
    return value


def _homes(job: str, key: str, choices: Mapping[str, str]) -> list[str]:
    """Other choices of the key's group that do have the key, such as `prompts=file`."""
    group = key.partition(".")[0]
    others = [choice for choice in groups(job).get(group, ()) if choice != choices.get(group)]
    return [
        f"{group}={name}" for name in others if _place(composition(job, {**choices, group: name}), key)[1] is not None
    ]
