"""The texts of a job's configuration, each with what it may name."""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from darkroom.clusters.reach import Names, Text
from darkroom.conf.groups import PROMPT_TEXTS
from darkroom.conf.keys import IS_PLACE, IS_SEVERAL
from darkroom.domain.settings import PICTURES, ModelRef, settings_of
from darkroom.jobs.nodes import Place, about
from darkroom.jobs.sources import dotted, leaves

# Keys of models and what belongs to them: settings, entries of LoRAs and extractors, and where a run's model lies now.
_OF_MODELS = {each.name for each in settings_of(ModelRef) if each.is_place} | {"path", "source", "adapters"}
_FOR_MODELS = PROMPT_TEXTS | {"slots"}  # keys of texts that no one takes for an address
_WORDS = {("reference", "demo")}  # of keys that else name a place
_EMBEDDED = "darkroom/"  # how models and LoRAs begin that come with Darkroom


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
                    yield Text(f"{above}{dotted(keys)}", leaf, _names(keys, leaf, said.get(key, {})))


def _names(keys: tuple[str, ...], text: str, said: Mapping[str, Any]) -> Names:
    """`keys`: from the one that the schema has on; an entry of a list is such as `[0]`."""
    *above, name = [key for key in keys if not key.startswith("[")]
    if said.get(IS_SEVERAL):
        return Names.ANYTHING if (keys[0], text) in _WORDS else Names.PLACE
    if name in _OF_MODELS:
        return Names.ANYTHING if text.startswith(_EMBEDDED) else Names.MODEL
    if name in PICTURES:
        return Names.PICTURE
    return Names.PLACE if said.get(IS_PLACE) and not above else Names.ANYTHING
