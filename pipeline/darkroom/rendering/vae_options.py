"""Decoding in less memory: whether a model's VAE can decode image by image, or tile by tile, and from which size on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from darkroom.domain.adapters import VAE
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef
from darkroom.rendering.loading import loads_models
from darkroom.rendering.model_facts import config_of
from darkroom.rendering.part_files import PartFile, weights_file

_OPTIONS = {"vae_tiling": "use_tiling", "vae_slicing": "use_slicing"}  # setting -> what a VAE that can do it has
_SIDES = ("tile_sample_min_size", "tile_sample_min_height", "tile_sample_min_width")  # pixels, of what it has of these


def vae_config(folder: Path, parts: Sequence[PartFile]) -> Mapping[str, Any]:
    """Of the VAE that the model will have; empty where it has none. `folder`: the model's."""
    other = next((file for file in parts if file.part.kind == VAE), None)
    return config_of(weights_file(other.path, other.label, VAE).parent if other else folder / "vae")


def check_vae(ref: ModelRef, config: Mapping[str, Any]) -> None:
    """Raises DarkroomError where the VAE cannot do what is asked for."""
    for name, attribute in _OPTIONS.items():
        if not getattr(ref, name):
            continue
        kind = f"the VAE of {ref.repo_id}, {config['_class_name']}," if config else f"{ref.repo_id} has no VAE and so"
        if not hasattr(empty_vae(config), attribute):
            raise DarkroomError(f"model.{name}=true: {kind} cannot do this; leave it out")


def tile_side(config: Mapping[str, Any]) -> int | None:
    """Pixels: images of which neither side is longer are decoded whole. None where the VAE has no such number."""
    empty = empty_vae(config)
    found = [getattr(empty, name) for name in _SIDES if hasattr(empty, name)]
    return min((max(each) if isinstance(each, list | tuple) else each for each in found), default=None)


@loads_models
def empty_vae(config: Mapping[str, Any]) -> Any:
    """The VAE without weights; None where there is none, or diffusers does not have its class."""
    import diffusers
    import torch

    kind = getattr(diffusers, config.get("_class_name", ""), None)
    if kind is None:
        return None
    with torch.device("meta"):
        return kind.from_config(dict(config))
