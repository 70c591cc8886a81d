"""A Gaussian fitted to features: all that a Frechet distance needs to know of a set of images."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Gaussian:
    """mean (d,) float64, covariance (d, d) float64 with ddof=1, and of how many images, where that is known."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int | None
