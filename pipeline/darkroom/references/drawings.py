"""The reference of the embedded model: drawings of what its prompts say, by the hand that drew what it learned from."""

import hashlib
import inspect
import sys
from collections.abc import Iterator

import numpy as np

from darkroom.demo import prompts, world
from darkroom.domain.identity import digest
from darkroom.references.blocks import NUM_IMAGES
from darkroom.references.reference import Block, ImageFile, Images, Reference
from darkroom.runs.encoding import encode

DEMO = "demo"
# Eight of each prompt: eight times the 64 dimensions of the embedded CLIP, so that their covariance has full rank, and
# drawn in a few seconds.
NUM_DRAWINGS = 512
_SEED = 11


def demo_reference() -> Reference:
    """The same in every place that has the same code, so its code says whether what is kept still holds."""
    code = (inspect.getsource(module) for module in (world, prompts, sys.modules[__name__]))
    return Reference(DEMO, DEMO, NUM_DRAWINGS, Images(_blocks, digest("drawings", np.__version__, *code)))


def drawings() -> Iterator[np.ndarray]:
    """(64, 64, 3) uint8 RGB: scene after scene, over and over, each time drawn with another seed."""
    scenes = prompts.demo_scenes()
    for number in range(NUM_DRAWINGS):
        yield world.draw(scenes[number % len(scenes)], np.random.default_rng([_SEED, number]))


def _blocks() -> Iterator[Block]:
    pictures = list(drawings())
    for start in range(0, NUM_DRAWINGS, NUM_IMAGES):
        yield _block(start, pictures[start : start + NUM_IMAGES])


def _block(start: int, pictures: list[np.ndarray]) -> Block:
    """Named by their pixels: an encoder's version moves bytes."""

    def files() -> list[ImageFile]:
        numbered = enumerate(pictures, start)
        return [ImageFile(f"{DEMO}: drawing {number}", encode(picture, "png", 0, {})) for number, picture in numbered]

    return Block(tuple(hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures), files)
