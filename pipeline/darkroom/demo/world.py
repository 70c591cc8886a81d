"""The drawn world: scenes of one or two shapes on an even background, their captions, and the demo's prompts.

Numpy only. `drawing.py` makes and reads their pictures.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

import numpy as np

SIZE = 64  # pixels, height and width

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 160, 70),
    "blue": (40, 80, 220),
    "yellow": (245, 210, 50),
    "purple": (140, 50, 170),
    "orange": (245, 130, 30),
}
BACKGROUNDS = {"white": (250, 250, 250), "black": (20, 20, 20), "gray": (128, 128, 128), "pink": (250, 190, 210)}
SHAPES = ("circle", "square", "triangle", "cross", "ring")
SIZES = {"small": 8.5, "large": 13.5}  # radius in pixels, give or take 6 %
RELATIONS = {  # where the first object lies, seen from the second: (x, y) of its centre from the picture's, in pixels
    "to the left of": (-16.0, 0.0),
    "to the right of": (16.0, 0.0),
    "above": (0.0, -16.0),
    "below": (0.0, 16.0),
}
MIRRORED = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
}
# How a caption says it, of each object. A text encoder that reads from left to right cannot tell the first object's
# place from "above" that comes after it; a place that is said behind each object is bound to it at once.
PLACES = {
    "to the left of": "on the left",
    "to the right of": "on the right",
    "above": "at the top",
    "below": "at the bottom",
}


@dataclass(frozen=True)
class Thing:
    """One object by its words; None is a word that the caption leaves out."""

    size: str | None
    colour: str | None
    shape: str

    def words(self) -> str:
        return " ".join(word for word in (self.size, self.colour, self.shape) if word)


@dataclass(frozen=True)
class Scene:
    """What a caption says: one object, or two in a relation, on a background."""

    first: Thing
    background: str | None
    relation: str | None = None
    second: Thing | None = None

    def caption(self) -> str:
        text = f"a {self.first.words()}"
        if self.second and self.relation:
            text += f" {PLACES[self.relation]} and a {self.second.words()} {PLACES[MIRRORED[self.relation]]},"
        text = f"{text} on a {self.background} background" if self.background else text.rstrip(",")
        return text.replace("a orange", "an orange")

    def _description(self) -> str:
        """What names the scene whatever a caption's wording is; a change of it changes who is held out."""
        text = f"a {self.first.words()}"
        if self.second:
            text += f" {self.relation} a {self.second.words()}"
        text += f" on a {self.background} background" if self.background else ""
        return text.replace("a orange", "an orange")

    @property
    def things(self) -> tuple[Thing, ...]:
        return (self.first, self.second) if self.second else (self.first,)

    def thing_at(self, place: str) -> Thing | None:
        """The one of two objects that lies there; `place` is a relation's words, such as "above"."""
        if self.relation is None:
            return None
        return self.first if place == self.relation else self.second if place == MIRRORED[self.relation] else None

    @property
    def is_trained_on(self) -> bool:
        """Nine scenes in ten are, told by a digest of what they hold."""
        return hashlib.sha256(self._description().encode()).digest()[0] >= 26

    @property
    def is_held_out(self) -> bool:
        """Neither this scene nor the one with the same picture, told from its other object, is trained on."""
        return not self.is_trained_on and not self.mirrored.is_trained_on

    @property
    def mirrored(self) -> "Scene":
        """The same picture, told from its other object."""
        if self.second is None or self.relation is None:
            return self
        return replace(self, first=self.second, relation=MIRRORED[self.relation], second=self.first)


def random_scene(rng: np.random.Generator, two_objects: float = 0.5) -> Scene:
    """A scene with every word said; two objects differ in shape or colour."""
    background = _choice(rng, BACKGROUNDS)
    first = _thing(rng)
    if rng.random() >= two_objects:
        return Scene(first, background)
    second = _thing(rng)
    while (second.shape, second.colour) == (first.shape, first.colour):
        second = _thing(rng)
    return Scene(first, background, _choice(rng, RELATIONS), second)


def scenes(seed: int, count: int, held_out: bool, two_objects: float = 0.5) -> list[Scene]:
    """`count` random scenes to train on, or held out; some may be equal."""
    return list(islice(_endless(seed, held_out, two_objects), count))


def _endless(seed: int, held_out: bool, two_objects: float) -> Iterator[Scene]:
    rng = np.random.default_rng(seed)
    while True:
        scene = random_scene(rng, two_objects)
        if scene.is_held_out if held_out else scene.is_trained_on:
            yield scene


_OF_DISTINCT = 0.95  # the share of two objects among those drawn


def distinct_scenes(seed: int, count: int) -> list[Scene]:
    """`count` held-out scenes with different captions, nearly all of two objects, since few others are held out.

    Raises ValueError past the 600 or so that there are.
    """
    found = dict.fromkeys(scenes(seed, 4 * count, held_out=True, two_objects=_OF_DISTINCT))
    if len(found) < count:
        raise ValueError(f"{count} distinct held-out scenes asked for, and {len(found)} found; ask for fewer")
    return list(found)[:count]


def with_words_left_out(scene: Scene, rng: np.random.Generator, rate: float) -> Scene:
    """The same scene described with some attributes unsaid."""
    first, second = (_vaguer(thing, rng, rate) if thing else None for thing in (scene.first, scene.second))
    assert first is not None
    return replace(scene, first=first, second=second, background=None if rng.random() < rate else scene.background)


WORDS = ("background", "relation", "size", "colour", "shape")
_THING_WORDS: dict[str, Iterable[str]] = {"size": SIZES, "colour": COLOURS, "shape": SHAPES}


def changed_word(scene: Scene, part: str, rng: np.random.Generator) -> Scene | None:
    """The scene with one word of `WORDS` another one; None where the caption has no such word or would say the same."""
    if part == "background":
        return replace(scene, background=_other(rng, BACKGROUNDS, scene.background))
    if part == "relation":
        return replace(scene, relation=_other(rng, RELATIONS, scene.relation)) if scene.second else None
    which = "second" if scene.second and rng.random() < 0.5 else "first"
    thing: Thing = getattr(scene, which)
    changed = replace(thing, **{part: _other(rng, _THING_WORDS[part], getattr(thing, part))})
    if changed in scene.things:
        return None
    return replace(scene, first=changed) if which == "first" else replace(scene, second=changed)


def _other(rng: np.random.Generator, words: Iterable[str], word: str | None) -> str:
    return str(rng.choice([other for other in words if other != word]))


def _choice(rng: np.random.Generator, words: Iterable[str]) -> str:
    words = list(words)
    return words[rng.integers(len(words))]


def _thing(rng: np.random.Generator) -> Thing:
    return Thing(_choice(rng, SIZES), _choice(rng, COLOURS), _choice(rng, SHAPES))


def _vaguer(thing: Thing, rng: np.random.Generator, rate: float) -> Thing:
    size, colour = (None if rng.random() < rate else word for word in (thing.size, thing.colour))
    return replace(thing, size=size, colour=colour)


# The demo's prompts: captions of scenes that the embedded model was never trained on --------------------------------

_PROMPTS_SEED = 7
NUM_PROMPTS = 64
_NUM_OF_ONE_OBJECT = 20  # of them


def demo_prompts() -> list[dict[str, str]]:
    """Rows of the dataset: `prompt`, and what the scene holds as columns to group by."""
    return [_row(scene) for scene in demo_scenes()]


@cache
def demo_scenes() -> tuple[Scene, ...]:
    """What the prompts describe, in their order: the first held-out scenes of each kind."""
    left = {1: _NUM_OF_ONE_OBJECT, 2: NUM_PROMPTS - _NUM_OF_ONE_OBJECT}  # by their number of objects
    found: dict[Scene, None] = {}
    for scene in _endless(_PROMPTS_SEED, held_out=True, two_objects=_OF_DISTINCT):
        if left[len(scene.things)] and scene not in found:
            found[scene] = None
            left[len(scene.things)] -= 1
        if not any(left.values()):
            break
    return tuple(found)


@cache
def other_scenes(seed: int, count: int) -> tuple[Scene, ...]:
    """`count` different scenes of which no demo prompt tells the picture, as often of one object as the prompts are."""
    rng = np.random.default_rng(seed)
    known = {picture for scene in demo_scenes() for picture in (scene, scene.mirrored)}
    num_of_one = count * _NUM_OF_ONE_OBJECT // NUM_PROMPTS
    found: dict[Scene, None] = {}
    while len(found) < count:
        scene = random_scene(rng, two_objects=float(len(found) >= num_of_one))
        if scene not in known and scene.mirrored not in found:
            found[scene] = None
    return tuple(found)


def _row(scene: Scene) -> dict[str, str]:
    return {
        "prompt": scene.caption(),
        "category": "two objects" if scene.second else "one object",
        "shape": " and ".join(thing.shape for thing in scene.things),
        "colour": " and ".join(thing.colour or "" for thing in scene.things),
        "relation": scene.relation or "",
        "background": scene.background or "",
    }
