"""Styles of drawing: what each makes of a shape. The embedded LoRAs are trained on their pictures.

Numpy only. A style leaves each object's place, width and colour as they are, so that a caption stays right.
"""

from collections.abc import Callable

import numpy as np

# Signed distance in pixels of (x, y), from a shape's centre, to its outline at a radius: below 0 inside.
Distance = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
# The same of what is painted of a shape: that shape, x, y and radius.
Style = Callable[[Distance, np.ndarray, np.ndarray, float], np.ndarray]

_LINE = 3.5  # pixels, the width of an outline; the embedded VAE blurs thinner ones
_HEIGHT = 0.55  # of a squashed shape, as a share


def plain(shape: Distance, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    return shape(x, y, radius)


def sketch(shape: Distance, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """A line along the inside of the outline."""
    return np.abs(shape(x, y, radius) + _LINE / 2) - _LINE / 2


def squashed(shape: Distance, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """As wide, and lower; exact along the sides, and a little less than the distance above and below."""
    return shape(x, y / _HEIGHT, radius)


STYLES: dict[str, Style] = {"sketch": sketch, "squashed": squashed}
