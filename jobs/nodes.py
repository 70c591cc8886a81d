"""Keys of a configuration as its schema declares them, whether they have a value or not."""

import os.path
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, EnumNode, ListConfig, Node, OmegaConf, StringNode, ValueNode

from darkroom.conf.keys import HAS_RANGES, IS_PLACE, IS_SEVERAL, IS_TEXT, range_text

_TRUTH_VALUES = {"true": True, "false": False}  # in quotes


@dataclass(frozen=True)
class Place:
    """Where a key is, or what of any shape it lies in."""

    node: Node
    about: Mapping[str, Any]  # what the schema says of it

    @property
    def is_section(self) -> bool:
        """Keys with values, each of which the schema names."""
        return isinstance(self.node, DictConfig) and not self.is_free and not self.node._is_none()

    @property
    def is_free(self) -> bool:
        """A value of any shape, also one that has got its shape."""
        is_open = isinstance(self.node, ValueNode) or OmegaConf.get_type(self.node) is dict
        return self.node._metadata.ref_type is Any and is_open

    @property
    def is_text(self) -> bool:
        """A text, a word, or a list or other value whose items are texts."""
        items = self.node._metadata.element_type if isinstance(self.node, ListConfig) else None
        return isinstance(self.node, StringNode | EnumNode) or items is str or bool(self.about.get(IS_TEXT))

    @property
    def is_file(self) -> bool:
        """A text that may name a file or folder of this machine."""
        return bool(self.about.get(IS_PLACE))

    @property
    def has_ranges(self) -> bool:
        """A list of numbers, which may be given as a text."""
        return bool(self.about.get(HAS_RANGES))

    @property
    def is_several(self) -> bool:
        """A text, which is taken whole, or several in a list or by their names."""
        return bool(self.about.get(IS_SEVERAL))

    @property
    def takes_null(self) -> bool:
        return bool(self.node._is_optional()) and not self.about.get("words")

    @property
    def needed_value(self) -> str:
        """Of a key that takes a number or a word, or a truth value or a word; empty for any other."""
        return range_text(self.about) if self.about.get("words") else ""

    @property
    def is_never_empty(self) -> bool:
        """An empty text is no value of it."""
        return self.is_file or (isinstance(self.node, StringNode) and bool(self.node._is_optional()))


def place_of(config: DictConfig, key: str) -> Place | None:
    """None where there is no such key."""
    place = Place(config, {})
    for part in key.split("."):
        if isinstance(place.node, ListConfig) or place.is_free:
            return place
        child = _child(place.node, part)
        if child is None:
            return None
        place = Place(child, about(place.node).get(part, {}))
    return place


def about(section: Node) -> dict[str, Mapping[str, Any]]:
    """What the schema says of each key of a section."""
    kind: Any = OmegaConf.get_type(section)
    return {each.name: each.metadata for each in fields(kind)} if is_dataclass(kind) else {}


def at_home(text: str) -> str:
    """With `~` as a shell fills it in; no Path, which would change an address."""
    return os.path.expanduser(text)  # noqa: PTH111


def settle(config: DictConfig) -> None:
    """Read what files of Hydra give as it is read elsewhere: `~` in places, and numbers and truth values in quotes."""
    said = about(config)
    for name in map(str, config):
        node: Any = _child(config, name)
        place = Place(node, said.get(name, {}))
        if place.is_section:
            settle(node)
        elif isinstance(node, ValueNode) and isinstance(node._value(), str):
            node._set_value(settled(place, node._value()))


def settled(place: Place, text: str) -> Any:
    """A text as the key holds it."""
    if place.needed_value and "low" in place.about:
        return int(text) if text.isdecimal() else text
    if place.needed_value:
        return _TRUTH_VALUES.get(text.lower(), text)
    return at_home(text) if place.is_file else text


def _child(node: Node, name: str) -> Node | None:
    """Also one that has no value yet."""
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return None
    child: Node | None = node._get_node(name, validate_access=False)
    return child
