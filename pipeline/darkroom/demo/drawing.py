"""Pictures of the world: a scene drawn, and a picture's background and objects read back from its pixels.

Numpy only, no model: the check of the embedded model measures with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from darkroom.demo.styles import Distance, Style, plain
from darkroom.demo.world import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZE, SIZES, Scene, Thing


def draw(scene: Scene, rng: np.random.Generator, style: Style = plain) -> np.ndarray:
    """A picture of a scene with every word said: (64, 64, 3) uint8 RGB; places and sizes vary a little."""
    assert scene.background is not None
    picture = np.empty((SIZE, SIZE, 3), np.float32)
    picture[:] = BACKGROUNDS[scene.background]
    for thing, centre in zip(scene.things, _centres(scene, rng), strict=True):
        assert thing.size is not None
        assert thing.colour is not None
        cover = _cover(thing.shape, centre, SIZES[thing.size] * rng.uniform(0.94, 1.06), style)[..., None]
        picture = picture * (1 - cover) + np.array(COLOURS[thing.colour], np.float32) * cover
    return np.rint(picture).astype(np.uint8)


def _centres(scene: Scene, rng: np.random.Generator) -> list[tuple[float, float]]:
    if scene.relation is None:
        return [(32 + rng.uniform(-7, 7), 32 + rng.uniform(-7, 7))]
    x, y = RELATIONS[scene.relation]
    return [(32 + side * x + rng.uniform(-2, 2), 32 + side * y + rng.uniform(-2, 2)) for side in (1, -1)]


def _cover(shape: str, centre: tuple[float, float], radius: float, style: Style) -> np.ndarray:
    """Share of each pixel that is painted, (64, 64) in [0, 1], from its signed distance in pixels."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + 0.5
    return np.clip(0.5 - style(SIGNED_DISTANCES[shape], x - centre[0], y - centre[1], radius), 0, 1)


def _circle(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    return np.hypot(x, y) - r


def _ring(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    return np.abs(np.hypot(x, y) - 0.76 * r) - 0.28 * r


def _square(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 0.88 * r


def _triangle(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    """Equilateral, point up, a little larger than its circle so that it looks as large as the others."""
    y = y - 0.2 * r
    return np.maximum(y, 0.866 * np.abs(x) - 0.5 * y) - 0.62 * r


def _cross(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    long, short, x, y = 1.04 * r, 0.36 * r, np.abs(x), np.abs(y)
    return np.minimum(np.maximum(x - long, y - short), np.maximum(x - short, y - long))


SIGNED_DISTANCES: dict[str, Distance] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "ring": _ring,
}


# Reading ------------------------------------------------------------------------------------------------------------

_FOREGROUND = 60.0  # RGB distance from the background, two thirds of what the nearest object colour has
_MIN_PIXELS = 24  # of an object; the smallest, a small ring or cross, has about 130
_LARGE = 21.0  # pixels of the longer side; small ones end at 19.4, large ones start at 22.3
_MIN_OVERLAP = 0.75  # of a shape with its best drawing: less is mush; true drawings have at least 0.84
_BOX = {"circle": 2.0, "square": 1.76, "triangle": 2.15, "cross": 2.08, "ring": 2.08}  # longer side, in radii


@dataclass(frozen=True)
class Seen:
    """One object as its pixels show it."""

    size: str
    colour: str
    shape: str | None  # None: like no shape of the world
    centre: tuple[float, float]  # x, y in pixels


@dataclass(frozen=True)
class Verdict:
    """Which parts of a caption a picture got right; None where the caption does not say."""

    background: bool
    colour: bool
    size: bool
    shape: bool
    relation: bool | None

    @property
    def everything(self) -> bool:
        return self.background and self.colour and self.size and self.shape and self.relation is not False


def judge(picture: np.ndarray, scene: Scene, style: Style = plain) -> Verdict:
    """Compare a (64, 64, 3) uint8 picture in a style with a scene that has every word said."""
    background = nearest(np.median(_border(picture), axis=0), BACKGROUNDS)
    seen = objects_in(picture, len(scene.things), style)
    if len(seen) != len(scene.things):
        return Verdict(background == scene.background, False, False, False, False if scene.second else None)
    order = max(permutations(seen), key=lambda candidate: _agreement(candidate, scene.things))
    pairs = list(zip(order, scene.things, strict=True))
    return Verdict(
        background=background == scene.background,
        colour=all(found.colour == thing.colour for found, thing in pairs),
        size=all(found.size == thing.size for found, thing in pairs),
        shape=all(found.shape == thing.shape for found, thing in pairs),
        relation=_relation(order[0], order[1]) == scene.relation if scene.second else None,
    )


def objects_in(picture: np.ndarray, expected: int, style: Style = plain) -> list[Seen]:
    """The objects of a picture; one blob is cut in two where two objects that touch are expected."""
    found = list(blobs(foreground(picture)))
    if len(found) == 1 and expected == 2:
        found = _cut(found[0])
    return [_describe(blob, picture.astype(np.float32), style) for blob in found]


def foreground(picture: np.ndarray) -> np.ndarray:
    """(64, 64) bool: the pixels that differ from the background, which is what most of the border shows."""
    distance = np.linalg.norm(picture.astype(np.float32) - np.median(_border(picture), axis=0), axis=2)
    return distance > _FOREGROUND


def nearest(colour: np.ndarray, palette: dict[str, tuple[int, int, int]]) -> str:
    """Name of the palette's colour that lies nearest in RGB."""
    return min(palette, key=lambda name: float(np.linalg.norm(colour - np.array(palette[name]))))


def _border(picture: np.ndarray) -> np.ndarray:
    return np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])


def blobs(mask: np.ndarray) -> Iterator[np.ndarray]:
    """Connected parts of a mask that may be objects, diagonal neighbours included."""
    left = mask.copy()
    while left.any():
        blob = np.zeros_like(left)
        blob[np.unravel_index(int(left.argmax()), left.shape)] = True
        while True:
            grown = _grown(blob) & left
            if (grown == blob).all():
                break
            blob = grown
        left &= ~blob
        if blob.sum() >= _MIN_PIXELS:
            yield blob


def _grown(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    return np.logical_or.reduce([padded[y : y + SIZE, x : x + SIZE] for y, x in product(range(3), range(3))])


def _cut(blob: np.ndarray) -> list[np.ndarray]:
    """Halve along the longer side of the box."""
    y, x = np.nonzero(blob)
    halves = blob.copy(), blob.copy()
    if np.ptp(x) > np.ptp(y):
        middle = (x.min() + x.max()) // 2
        halves[0][:, middle + 1 :] = False
        halves[1][:, : middle + 1] = False
    else:
        middle = (y.min() + y.max()) // 2
        halves[0][middle + 1 :] = False
        halves[1][: middle + 1] = False
    return [half for half in halves if half.sum() >= _MIN_PIXELS]


def _describe(blob: np.ndarray, pixels: np.ndarray, style: Style) -> Seen:
    y, x = np.nonzero(blob)
    side = max(np.ptp(x), np.ptp(y)) + 1
    middle = ((x.min() + x.max() + 1) / 2, (y.min() + y.max() + 1) / 2)
    return Seen(
        size="large" if side > _LARGE else "small",
        colour=nearest(np.median(pixels[blob], axis=0), COLOURS),
        shape=_shape(blob, middle, float(side), style),
        centre=middle,
    )


def _shape(blob: np.ndarray, middle: tuple[float, float], side: float, style: Style) -> str | None:
    """The shape whose drawing overlaps the blob best."""
    overlaps = {shape: max(_overlaps(blob, shape, middle, side, style)) for shape in SHAPES}
    best = max(overlaps, key=lambda shape: overlaps[shape])
    return best if overlaps[best] >= _MIN_OVERLAP else None


def _overlaps(blob: np.ndarray, shape: str, middle: tuple[float, float], side: float, style: Style) -> Iterator[float]:
    """Intersection over union with drawings that fill the blob's box, give or take a pixel."""
    grid = np.arange(SIZE, dtype=np.float32) + 0.5
    for change, shift in product((-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0)):
        radius = (side + change) / _BOX[shape]
        lift = 0.11 * radius if shape == "triangle" else 0.0  # its centre lies below its box's
        x, y = grid[None, :] - middle[0], grid[:, None] - middle[1] - lift - shift
        drawn = style(SIGNED_DISTANCES[shape], x, y, radius) < 0
        yield float((drawn & blob).sum() / max(1, (drawn | blob).sum()))


def _agreement(seen: tuple[Seen, ...], things: tuple[Thing, ...]) -> int:
    pairs = zip(seen, things, strict=True)
    return sum((a.colour == b.colour) * 4 + (a.shape == b.shape) * 2 + (a.size == b.size) for a, b in pairs)


def _relation(first: Seen, second: Seen) -> str:
    x, y = first.centre[0] - second.centre[0], first.centre[1] - second.centre[1]
    if abs(x) > abs(y):
        return "to the left of" if x < 0 else "to the right of"
    return "above" if y < 0 else "below"
