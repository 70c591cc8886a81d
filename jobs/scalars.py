"""Numbers and truth values of a YAML file, with the text that they are written as: 007 is 7 to YAML alone."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader
from yaml import ScalarNode


@dataclass(frozen=True)
class Scalar:
    """A number or a truth value, and the text that it is written as."""

    value: bool | float
    text: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    @property
    def is_as_it_looks(self) -> bool:
        """Not so: 010, which is 8 to YAML 1.1, 1:30, which is 90, and 0x10."""
        if isinstance(self.value, bool) or self.text.lstrip("+-").lower() in (".inf", ".nan"):
            return True
        try:
            return (int if isinstance(self.value, int) else float)(self.text) == self.value
        except ValueError:
            return False


def with_scalars(value: Any, *, as_text: bool, texts: Collection[str] = ()) -> Any:
    """The value with each scalar in it, at any depth, as its text or as its value.

    `texts`: keys in it whose values are texts.
    """
    if isinstance(value, Scalar):
        return value.text if as_text else value.value
    if isinstance(value, list):
        return [with_scalars(item, as_text=as_text, texts=texts) for item in value]
    if isinstance(value, dict):
        return {
            with_scalars(key, as_text=False): with_scalars(item, as_text=as_text or key in texts, texts=texts)
            for key, item in value.items()
        }
    return value


def leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(keys on the way, value) of all that is neither keys with values nor a list; an item's key is such as `[0]`."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*keys, str(key)))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from leaves(item, (*keys, f"[{number}]"))
    else:
        yield keys, value


def dotted(keys: tuple[str, ...]) -> str:
    """Such as `evaluation.metrics[0]`."""
    return ".".join(keys).replace(".[", "[")


def scalars(path: Path) -> Any:
    """The file as OmegaConf reads it, but for its scalars."""
    loader = get_yaml_loader()
    for kind in ("bool", "int", "float"):
        tag = f"tag:yaml.org,2002:{kind}"
        loader.add_constructor(tag, partial(_scalar, loader.yaml_constructors[tag]))
    return yaml.load(path.read_text("utf-8"), loader)


def _scalar(construct: Callable[[Any, ScalarNode], bool | float], loader: Any, node: ScalarNode) -> Scalar:
    return Scalar(construct(loader, node), node.value)
