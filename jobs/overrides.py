"""From the words of a command line to a checked configuration.

What a shell passes whole is taken whole: the value of a key that the schema calls text is that text, whatever is in it.
Lists, dicts and numbers are read by Hydra's grammar. https://hydra.cc/docs/advanced/override_grammar/basic/
"""

import os.path
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import (
    MISSING,
    DictConfig,
    EnumNode,
    FloatNode,
    IntegerNode,
    ListConfig,
    Node,
    OmegaConf,
    StringNode,
    ValueNode,
)
from omegaconf.errors import OmegaConfBaseException

from darkroom.conf.groups import PROMPT_TEXTS
from darkroom.conf.keys import IS_PLACE, check_ranges
from darkroom.domain.errors import DarkroomError, credentials_in, has_credentials
from darkroom.jobs.arguments import Arguments, arguments
from darkroom.jobs.composition import NULL, Choices, added_groups, groups
from darkroom.jobs.config_file import ConfigFile
from darkroom.jobs.refusals import refuse_added, refuse_choice, refuse_enum, refuse_key, refuse_value, refuse_word
from darkroom.jobs.scalars import with_scalars

_KEY = re.compile(r"[^\W\d]\w*(\.\w+)*")
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_INTERPOLATION = re.compile(r"(\\*)\$\{")

Groups = Mapping[str, Sequence[str]]  # group to choices


@dataclass(frozen=True)
class Given:
    """One `key=text` of the command."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}={self.text}"


def composed(job: str, words: Sequence[str]) -> DictConfig:
    """The job's configuration. Raises DarkroomError for an unknown key, a wrong type or a missing value."""
    config, _ = chosen(arguments(job, words))
    missing = sorted(str(key) for key in OmegaConf.missing_keys(config))
    if missing:
        raise DarkroomError(f"{missing[0]} has no value; give it as {missing[0]}=..., see `darkroom {job} --help`")
    check_ranges(config)
    return config


def chosen(given: Arguments) -> tuple[DictConfig, Choices]:
    """The configuration as far as it is given, in which keys may lack a value, and the choices that it is made from."""
    sources = given.sources
    file, known, added_known = ConfigFile(sources), groups(sources), added_groups(sources)
    items = [_given(sources.job, word, known, added_known) for word in given.words]
    usual = [item for item in items if item.key in known and not item.text.startswith("{")]
    added = [item for item in items if item.key.startswith("+")]
    said = {item.key: _chosen(item, known[item.key]) for item in usual}
    choices = Choices(
        sources,
        file.choices() | said,
        {item.key[1:]: _chosen(item, added_known[item.key[1:]]) for item in added},
    )
    config = choices.config()
    for key, value in file.values(said):
        _put_all(config, choices, key, value)
    for item in items:
        if item not in usual and item not in added:
            _put(config, choices, item)
    return config, choices


def escaped(text: str) -> str:
    """A text as a configuration holds it, where `${...}` would else be filled in."""
    return _INTERPOLATION.sub(lambda found: found[1] * 2 + "\\${", text)


def _given(job: str, word: str, known: Groups, added: Groups) -> Given:
    """`known`: the groups of the job, `added`: those of the user's folder."""
    key, sign, text = word.partition("=")
    if any("\ud800" <= letter <= "\udfff" for letter in word):  # what Python makes of bytes that it cannot decode
        raise DarkroomError(
            f"{key if key.isascii() else 'a word'}: it has bytes that are no letters of this locale "
            f"({sys.getfilesystemencoding()}); set PYTHONUTF8=1, or rename what it names"
        )
    if key.startswith("+") and key[1:] not in added:
        raise refuse_added(job, key, added)
    if not (sign and _KEY.fullmatch(key.removeprefix("+"))):
        raise refuse_word(job, key, known)
    if key in added:
        raise DarkroomError(f"{word}: {key} is no group of `darkroom {job}` but one of yours; write +{word}")
    _check_no_credentials(key, _unquoted(text))
    return Given(key, text)


def _check_no_credentials(key: str, text: str) -> None:
    if key.rpartition(".")[2] not in PROMPT_TEXTS and has_credentials(text):
        raise credentials_in(key)


def _chosen(item: Given, known: Sequence[str]) -> str:
    """One of a group's choices."""
    choice = _unquoted(item.text)
    if choice not in known:
        raise refuse_choice(str(item), choice, known)
    return choice


# One key -----------------------------------------------------------------------------------------------------------


def _put(config: DictConfig, choices: Choices, item: Given) -> None:
    parent, node = _found(config, choices, item.key)
    _update(config, item.key, _value(item, parent, node), node, str(item))


def _put_all(config: DictConfig, choices: Choices, key: str, value: object) -> None:
    """A value of a file: each of its keys, as far as the schema names them."""
    said = f"{choices.sources.config}: {key}"
    parent, node = _found(config, choices, key)
    if isinstance(value, Mapping) and isinstance(node, DictConfig) and not _is_free(node) and not node._is_none():
        for name, item in value.items():
            _put_all(config, choices, f"{key}.{name}", item)
        return
    if value is None and not node._is_optional():
        raise DarkroomError(f"{said}=null: null is no value of it; give one, or '' for an empty text")
    value = with_scalars(value, as_text=_is_text(node))
    if isinstance(value, str):
        _check_no_credentials(key, value)
        value = _at_home(value) if isinstance(node, StringNode) and _is_place(parent, key) else value
        if isinstance(node, EnumNode) and value != MISSING and value not in node.enum_type.__members__:
            raise refuse_enum(f"{said}={value}", value, list(node.enum_type.__members__))
    _update(config, key, value, node, f"{said}={value}")


def _is_text(node: Node) -> bool:
    """A text, a word, or a list of texts."""
    return isinstance(node, StringNode | EnumNode) or (
        isinstance(node, ListConfig) and node._metadata.element_type is str
    )


def _found(config: DictConfig, choices: Choices, key: str) -> tuple[Node, Node]:
    """(what the key lies in, what it names). Raises DarkroomError where there is no such key."""
    parent, node = _place(config, key)
    if node is None:
        raise refuse_key(choices.sources.job, key, config, list(groups(choices.sources)), _homes(choices, key))
    return parent, node


def _update(config: DictConfig, key: str, value: object, node: Node, said: str) -> None:
    try:
        OmegaConf.update(config, key, value, merge=True, force_add=_is_free(node))
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise refuse_value(said, node, error) from error


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
    child: Node | None = node._get_node(name, validate_access=False)
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
    if item.text == NULL and node._is_optional():
        return None
    text, is_place = _unquoted(item.text), _is_place(parent, item.key)
    if not text and (is_place or node._is_optional()):
        none = f", or {item.key}={NULL} for none" if node._is_optional() else ""
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


def _homes(choices: Choices, key: str) -> list[str]:
    """Other choices of the key's group that do have the key, such as `prompts=file`."""
    group = key.partition(".")[0]
    others = [name for name in groups(choices.sources).get(group, ()) if name != choices.usual.get(group)]
    return [f"{group}={name}" for name in others if _place(choices.but(group, name).config(), key)[1] is not None]
