"""An invisible watermark of a few letters in an image's pixels, put in last, and read back without the original.

The scheme is `dwtDctSvd` of the package invisible-watermark 0.2.0, whose decoder reads these marks: of the chroma
channel U, halved by Haar's wavelet, the largest singular value of every block of 4x4 is moved to the middle of one half
of a step of 36, which half says a bit; the bits of the text come again and again over all blocks, and a vote decides
each. A cosine transform leaves singular values as they are, so it is left out; and moving the largest one is adding a
multiple of two vectors' product, so that all blocks are done at once.

A mark counts as found where so few bits are wrong that chance alone would do it in less than one of a million images.
Where a colour cannot be moved, as on white, it does not hold: so each image is read back, and its record says whether.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from darkroom.domain.errors import DarkroomError

FOUND, NOT_FOUND = "found", "not found"  # what records say
SMALLEST_SIDE = 256  # pixels: in fewer blocks too few votes are cast
FEWEST_LETTERS, MOST_LETTERS = 3, 8
_STEP = 36.0
_BLOCK = 4  # of the halved channel; 8 pixels of the image
_POWERS = 8  # of a block's matrix, squared: enough for votes, since an error of the vectors counts squared
_CHANCE = 1e-6  # of a mark that is found where none is
_U = (-0.147, -0.289, 0.436)  # of red, green and blue, as OpenCV has it
_MOVED = {1: -0.395, 2: 2.032}  # green and blue, by one of U


def check_text(text: str) -> None:
    """Raises DarkroomError for what is no watermark's text."""
    if not (FEWEST_LETTERS <= len(text) <= MOST_LETTERS and text.isascii() and text.isprintable()):
        raise DarkroomError(
            f"output.watermark.text={text!r}: give {FEWEST_LETTERS} to {MOST_LETTERS} ASCII characters: images "
            "without a mark say a shorter one by chance, and a longer one has too few votes for each bit"
        )


def size_fault(height: int, width: int) -> str | None:
    """Why no image of this size holds a watermark; None where it may."""
    if min(height, width) >= SMALLEST_SIDE:
        return None
    least = f"{SMALLEST_SIDE}x{SMALLEST_SIDE}"
    return f"{width}x{height} pixels: a watermark holds from {least} on; leave it out, or render larger images"


def marked(pixels: np.ndarray, text: str) -> np.ndarray:
    """(height, width, 3) uint8 RGB with the text in it; at least SMALLEST_SIDE a side."""
    blocks, height, width = _blocks(pixels)
    values, left, right = _largest(blocks)
    bits = np.resize(_bits(text), len(blocks))
    moved = (values // _STEP + 0.25 + 0.5 * bits) * _STEP - values
    change = moved[:, None, None] * left[:, :, None] * right[:, None, :]
    down, across = height // (2 * _BLOCK), width // (2 * _BLOCK)
    halved = change.reshape(down, across, _BLOCK, _BLOCK).swapaxes(1, 2).reshape(down * _BLOCK, across * _BLOCK)
    whole = halved.repeat(2, axis=0).repeat(2, axis=1) / 2  # Haar's wavelet back, of the means alone
    found = pixels.copy()
    for channel, moved_by in _MOVED.items():
        part = found[: whole.shape[0], : whole.shape[1], channel]
        part[...] = np.clip(np.rint(part + whole * moved_by), 0, 255)
    return found


def num_wrong(pixels: np.ndarray, text: str) -> int:
    """Bits of the text that pixels say otherwise."""
    blocks, _, _ = _blocks(pixels)
    votes = _largest(blocks)[0] % _STEP > _STEP / 2
    bits = _bits(text)
    cast = np.bincount(np.arange(len(votes)) % len(bits), votes, len(bits))
    counts = np.bincount(np.arange(len(votes)) % len(bits), minlength=len(bits))
    return int(np.count_nonzero((cast > counts / 2) != bits))


def most_wrong(text: str) -> int:
    """Bits that may be wrong of a mark that is found."""
    num_bits, chance, count = 8 * len(text), 0.0, -1
    while (chance := chance + math.comb(num_bits, count + 1) / 2**num_bits) < _CHANCE:
        count += 1
    return count


def is_found(pixels: np.ndarray, text: str) -> bool:
    """Whether an image that is as large as it was marked says the text."""
    return size_fault(*pixels.shape[:2]) is None and num_wrong(pixels, text) <= most_wrong(text)


def _bits(text: str) -> np.ndarray:
    return np.unpackbits(np.frombuffer(text.encode("ascii"), np.uint8)).astype(bool)


def _blocks(pixels: np.ndarray) -> tuple[np.ndarray, int, int]:
    """(count, 4, 4) of the halved channel, row by row, and the image's height and width in whole blocks."""
    size = 2 * _BLOCK
    height, width = (side // size * size for side in pixels.shape[:2])
    channel = np.rint(sum(pixels[:height, :width, number] * share for number, share in enumerate(_U)) + 128.0)
    halved = channel.reshape(height // 2, 2, width // 2, 2).sum(axis=(1, 3)) / 2
    blocks = halved.reshape(height // size, _BLOCK, width // size, _BLOCK).swapaxes(1, 2)
    return blocks.reshape(-1, _BLOCK, _BLOCK), height, width


def _largest(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(count,) largest singular values, and (count, 4) their left and right vectors, by powers of all blocks at once.

    All entries are positive, so that the vector of ones is never far from the first one sought.
    """
    right = np.ones(blocks.shape[:2])
    for _ in range(_POWERS):
        left = np.einsum("nij,nj->ni", blocks, right)
        right = np.einsum("nij,ni->nj", blocks, left)
        right /= np.sqrt(np.einsum("nj,nj->n", right, right))[:, None]
    left = np.einsum("nij,nj->ni", blocks, right)
    values = np.sqrt(np.einsum("ni,ni->n", left, left))
    return values, left / values[:, None], right


# What it survives ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Detection:
    """In how many images the mark is found, by what was done to them."""

    num_images: int
    num_found: Mapping[str, int]


def detection(images: Sequence[np.ndarray], text: str) -> Detection:
    """Of images as they are stored. What was resized is brought back to its size first, which records know."""
    found = {
        name: sum(is_found(_as_large(change(pixels), pixels), text) for pixels in images)
        for name, change in _CHANGES.items()
    }
    return Detection(len(images), found)


def _compressed(quality: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(pixels: np.ndarray) -> np.ndarray:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer).convert("RGB"))

    return change


def _resized(share: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(pixels: np.ndarray) -> np.ndarray:
        height, width = (max(1, round(side * share)) for side in pixels.shape[:2])
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))

    return change


def _as_large(pixels: np.ndarray, as_this: np.ndarray) -> np.ndarray:
    height, width = as_this.shape[:2]
    if pixels.shape == as_this.shape:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


_CHANGES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "as stored": lambda pixels: pixels,
    "after JPEG 75": _compressed(75),
    "after JPEG 50": _compressed(50),
    "at half the size": _resized(0.5),
    "at three quarters of it": _resized(0.75),
}
