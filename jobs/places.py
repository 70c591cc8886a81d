"""The texts of a job's configuration, each with what it may name."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from darkroom.clusters.reach import Names, Text
from darkroom.conf.groups import PROMPT_TEXTS
from darkroom.conf.keys import IS_PLACE
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import SETTINGS
from darkroom.jobs.nodes import Place, about
from darkroom.jobs.sources import dotted, leaves

# Keys of models and what belongs to them: settings, entries of LoRAs and extractors, and where a run's model lies now.
_OF_MODELS = {each.name for each in SETTINGS.values() if each.is_place} | {"path", "source", "adapters"}
_FOR_MODELS = PROMPT_TEXTS | {"slots"}  # keys of texts that no one takes for an address
_WORDS = {("reference", "demo")}  # of keys that else name a place
_SEVERAL = "prompts.uri"  # of which there may be several
_EMBEDDED = "darkroom/"  # how models and LoRAs begin that come with Darkroom


def addresses(text: str) -> list[str]:
    """The one that a text is, or those of a list such as `[a.parquet,b.txt]`: a file whose name is written so is
    itself."""
    if not (text.startswith("[") and text.endswith("]")) or os.path.exists(text):  # noqa: PTH110 - false for a name that none may have
        return [text]
    try:
        items = yaml.load(text, yaml.BaseLoader)  # in which every scalar is a text
    except yaml.YAMLError:
        items = None
    if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
        raise DarkroomError(
            f"prompts.uri={text}: not readable as a list of addresses; give such as [a.parquet,b.txt], each in quotes "
            "where it has brackets, commas or spaces"
        )
    return items


def texts(config: DictConfig, above: str = "") -> Iterator[Text]:
    """Those that are not prompts."""
    said, values = about(config), OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    assert isinstance(values, dict)
    for name, value in values.items():
        key, node = str(name), config._get_node(name)
        if isinstance(node, DictConfig) and Place(node, said.get(key, {})).is_section:
            yield from texts(node, f"{above}{key}.")
        elif key not in _FOR_MODELS:
            for keys, leaf in leaves(value, (key,)):
                if isinstance(leaf, str):
                    name = f"{above}{dotted(keys)}"
                    for text in addresses(leaf) if name == _SEVERAL else [leaf]:
                        yield Text(name, text, _names(keys, text, said.get(key, {})))


def _names(keys: tuple[str, ...], text: str, said: Mapping[str, Any]) -> Names:
    """`keys`: from the one that the schema has on; an entry of a list is such as `[0]`."""
    *above, name = [key for key in keys if not key.startswith("[")]
    if name in _OF_MODELS:
        return Names.ANYTHING if text.startswith(_EMBEDDED) else Names.MODEL
    is_place = said.get(IS_PLACE) and not above and (name, text) not in _WORDS
    return Names.PLACE if is_place else Names.ANYTHING
