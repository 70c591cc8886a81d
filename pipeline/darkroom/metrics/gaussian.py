"""A Gaussian fitted to features: all that a Frechet distance needs to know of a set of images."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Gaussian:
    """mean (d,) float64, covariance (d, d) float64 with ddof=1, and of how many images, where that is known."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int | None

    @cached_property
    def factor(self) -> np.ndarray:
        """A (d, rank) float64 with A A^T = covariance, columns orthogonal: O(d^3), once, for all that asks for it.

        Eigenvalues at the level of rounding count as zero, negative ones with them.
        """
        values, vectors = np.linalg.eigh(self.covariance)
        kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
        return vectors[:, kept] * np.sqrt(values[kept])
