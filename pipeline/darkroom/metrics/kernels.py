"""The kernels of KID and CMMD, and their sums over all pairs of two sets, without ever making all pairs at once."""

from collections.abc import Callable

import numpy as np

from darkroom.metrics.features import tiles

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (n, d), (m, d) float64 -> (n, m) float64


def cubic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(x . y / d + 1)^3: the kernel of Binkowski et al. 2018."""
    values = first @ second.T / first.shape[1] + 1
    return values * values * values  # an order faster than a power


def squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n, m) of (n, d) and (m, d), never negative."""
    norms = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)
    return np.maximum(norms - 2 * (first @ second.T), 0)


def row_sums(kernel: Kernel, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n,) float64: for each row of (n, d), the kernel's sum over all rows of (m, d)."""
    sums = np.zeros(len(first))
    for rows, _, left, right in tiles(first, second):
        sums[rows] += kernel(left, right).sum(axis=1)
    return sums


def kernel_sum(kernel: Kernel, first: np.ndarray, second: np.ndarray) -> float:
    """Sum of the kernel over all n x m pairs of (n, d) and (m, d), in float64."""
    return float(sum(kernel(left, right).sum() for _, _, left, right in tiles(first, second)))
