"""CLIP maximum mean discrepancy: a distance of CLIP features that assumes no Gaussian. Knows features, not models."""

import numpy as np

from darkroom.metrics.features import checked_pair
from darkroom.metrics.kernels import kernel_sum, squared_distances

_SIGMA = 10
SCALE = 1000  # to make the figures easy to read, as the paper does


def cmmd(features: np.ndarray, reference: np.ndarray) -> float:
    """1000 MMD^2 of (n, d) and (m, d) CLIP features of unit length, Gaussian kernel, sigma 10: Jayasumana et al. 2024.

    The estimate of minimum variance, each image paired with itself too (Gretton et al. 2012 eq. 5), as in the paper's
    own code; that code works in float32, this in float64. Never below 0 but for rounding.
    """
    features, reference = checked_pair(features, reference)
    within = _mean(features, features) + _mean(reference, reference)
    return SCALE * (within - 2 * _mean(features, reference))


def _mean(first: np.ndarray, second: np.ndarray) -> float:
    return kernel_sum(gaussian, first, second) / (len(first) * len(second))


def gaussian(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """exp(-|x - y|^2 / (2 sigma^2)), (n, m) of (n, d) and (m, d)."""
    return np.exp(squared_distances(first, second) / (-2 * _SIGMA**2))
