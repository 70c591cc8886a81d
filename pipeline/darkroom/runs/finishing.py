"""What is done to an image between rendering and storing, in this order: text is drawn, a watermark is put in, the file
is encoded."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from darkroom.runs.encoding import EncodedImage, decode, pixels_digest
from darkroom.runs.overlays import Overlay, drawn
from darkroom.runs.watermarks import FOUND, NOT_FOUND, is_found, marked

Encode = Callable[[np.ndarray], EncodedImage]


@dataclass(frozen=True, eq=False)
class Finished:
    """An image as it is stored."""

    pixels: np.ndarray  # (height, width, 3) uint8 RGB, that were encoded; of a video (num_frames, height, width, 3)
    file: EncodedImage
    sha256: str | None = None  # of these pixels, where they are not those as rendered
    edits: tuple[str, ...] = ()  # what was done, by the names of `signing.EDITS`
    watermark: str | None = None  # FOUND or NOT_FOUND; None: none was asked for


def finish(pixels: np.ndarray, overlay: Overlay | None, watermark: str, encode: Encode) -> Finished:
    """A function of the arguments. `watermark`: its letters; empty: none.

    The mark is read back from the encoded file; where it is not found there, the file is made without. Raises what
    steps raise that cannot be done.
    """
    edited = _drawn(pixels, overlay) if overlay else pixels
    edits = ("overlay",) if overlay else ()
    if watermark:
        stored = marked(edited, watermark)
        file = encode(stored)
        if is_found(decode(file.data), watermark):
            return Finished(stored, file, pixels_digest(stored), (*edits, "watermark"), FOUND)
    sha256 = None if edited is pixels else pixels_digest(edited)
    return Finished(edited, encode(edited), sha256, edits, NOT_FOUND if watermark else None)


def _drawn(pixels: np.ndarray, overlay: Overlay) -> np.ndarray:
    """On every frame of a video."""
    return drawn(pixels, overlay) if pixels.ndim == 3 else np.stack([drawn(frame, overlay) for frame in pixels])
