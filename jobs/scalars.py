"""Numbers and truth values of a YAML file, with the text that they are written as: 007 is 7 to YAML alone."""

from collections.abc import Callable
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


def with_scalars(value: Any, *, as_text: bool) -> Any:
    """The value with each scalar in it, at any depth, as its text or as its value."""
    if isinstance(value, Scalar):
        return value.text if as_text else value.value
    if isinstance(value, list):
        return [with_scalars(item, as_text=as_text) for item in value]
    if isinstance(value, dict):
        return {with_scalars(key, as_text=False): with_scalars(item, as_text=as_text) for key, item in value.items()}
    return value


def scalars(path: Path) -> dict[Any, Any]:
    """The file as OmegaConf reads it, but for its scalars."""
    loader = get_yaml_loader()
    for kind in ("bool", "int", "float"):
        tag = f"tag:yaml.org,2002:{kind}"
        loader.add_constructor(tag, partial(_scalar, loader.yaml_constructors[tag]))
    keys: dict[Any, Any] | None = yaml.load(path.read_text("utf-8"), loader)
    return keys or {}


def _scalar(construct: Callable[[Any, ScalarNode], bool | float], loader: Any, node: ScalarNode) -> Scalar:
    return Scalar(construct(loader, node), node.value)
