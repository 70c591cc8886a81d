"""The world as tensors: pictures, captions with words left out, and the attributes that they show."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import CLIPTokenizer

from darkroom.demo import world
from darkroom.demo.drawing import draw
from darkroom.demo.world import Scene

# The attributes of a scene: the words each can take. Index 0 of a label means unsaid or absent.
_THING_WORDS: dict[str, tuple[str, ...]] = {
    "size": tuple(world.SIZES),
    "colour": tuple(world.COLOURS),
    "shape": tuple(world.SHAPES),
}
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "background": tuple(world.BACKGROUNDS),
    "relation": tuple(world.RELATIONS),
    **{f"{which} {name}": words for which in ("first", "second") for name, words in _THING_WORDS.items()},
}
# The same objects by where they lie: what a denoiser needs to know, and no caption says in so many words.
PLACES: dict[str, tuple[str, ...]] = {
    f"{place} {name}": words for place in world.RELATIONS for name, words in _THING_WORDS.items()
}
_CAPTIONS = 4  # wordings of each scene: one whole, the others with words left out
_LEFT_OUT = 0.15  # share of the attributes


@dataclass(frozen=True)
class World:
    """A fixed sample of the world."""

    scenes: Sequence[Scene]
    pixels: torch.Tensor  # (N, 3, 64, 64) uint8
    tokens: torch.Tensor  # (N, 4, 32) int64; the first wording is whole
    labels: torch.Tensor  # (N, attributes) int64, of the whole caption

    def images(self, index: torch.Tensor) -> torch.Tensor:
        """(N, 3, 64, 64) float32 in [-1, 1]."""
        return self.pixels[index].float() / 127.5 - 1


def make_world(seed: int, count: int, held_out: bool, tokenizer: CLIPTokenizer) -> World:
    rng = np.random.default_rng(seed + 1)
    scenes = world.scenes(seed, count, held_out, two_objects=0.6)
    pixels = torch.from_numpy(np.stack([draw(scene, rng) for scene in scenes])).permute(0, 3, 1, 2)
    wordings = [_wording(scene, rng, index) for scene in scenes for index in range(_CAPTIONS)]
    tokens = tokenize(tokenizer, wordings).reshape(count, _CAPTIONS, -1)
    labels = torch.tensor([attribute_labels(scene) for scene in scenes])
    return World(scenes, pixels.contiguous(), tokens, labels)


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> torch.Tensor:
    """(N, 32) int64, padded."""
    options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    return tokenizer(list(captions), max_length=tokenizer.model_max_length, **options).input_ids


def place_labels(scene: Scene) -> list[int]:
    """One for each of `PLACES`, all 0 for a scene of one object."""
    things = [(scene.thing_at(place), name) for place in world.RELATIONS for name in _THING_WORDS]
    words = [getattr(thing, name) if thing else None for thing, name in things]
    return [
        0 if word is None else 1 + choices.index(word) for word, choices in zip(words, PLACES.values(), strict=True)
    ]


def attribute_words(scene: Scene) -> dict[str, str | None]:
    words: dict[str, str | None] = {"background": scene.background, "relation": scene.relation}
    for which, thing in (("first", scene.first), ("second", scene.second)):
        for name in ("size", "colour", "shape"):
            words[f"{which} {name}"] = getattr(thing, name) if thing else None
    return words


def attribute_labels(scene: Scene) -> list[int]:
    words = attribute_words(scene)
    return [0 if words[name] is None else 1 + choices.index(words[name]) for name, choices in ATTRIBUTES.items()]


def _wording(scene: Scene, rng: np.random.Generator, index: int) -> str:
    return (world.with_words_left_out(scene, rng, _LEFT_OUT) if index else scene).caption()
