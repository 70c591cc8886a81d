"""What is done to an image's pixels between rendering and encoding, in this order: text is drawn."""

from dataclasses import dataclass

import numpy as np

from darkroom.runs.encoding import pixels_digest
from darkroom.runs.overlays import Overlay, drawn


@dataclass(frozen=True, eq=False)
class Finished:
    """Pixels as they are stored."""

    pixels: np.ndarray  # (height, width, 3) uint8 RGB
    sha256: str | None = None  # of them, where they are not those as rendered
    edits: tuple[str, ...] = ()  # what was done, by the names of `signing.EDITS`


def finish(pixels: np.ndarray, overlay: Overlay | None) -> Finished:
    """A function of the arguments. Raises ValueError or DarkroomError where a step cannot be done."""
    stored = drawn(pixels, overlay) if overlay else pixels
    edits = ("overlay",) if overlay else ()
    return Finished(stored, None if stored is pixels else pixels_digest(stored), edits)
