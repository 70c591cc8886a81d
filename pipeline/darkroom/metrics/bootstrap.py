"""95 % intervals by resampling images: of a mean, of a difference, of any statistic. Knows no metric."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from darkroom.domain.errors import DarkroomError

_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Interval:
    """A statistic of all images, and between what bounds 95 % of its resamples lie."""

    estimate: float
    low: float
    high: float


def interval(
    statistic: Callable[[np.ndarray], float], num_images: int, num_resamples: int = 1000, seed: int = 0
) -> Interval:
    """Percentile bootstrap of a statistic of (n,) int64 row indices: Efron 1979.

    Not for statistics with a bias that depends on n, such as FID: resamples repeat images, which shifts it (see
    `frechet_interval.py`).
    """
    if num_images < 2 or num_resamples < 1:
        found = f"{num_images} image(s) and {num_resamples} resamples"
        raise DarkroomError(f"interval: {found}; give at least 2 images and 1 resample, better hundreds of both")
    rng = np.random.default_rng(seed)
    resampled = [statistic(rng.integers(num_images, size=num_images)) for _ in range(num_resamples)]
    low, high = np.percentile(np.array(resampled), _PERCENTILES)
    return Interval(float(statistic(np.arange(num_images))), float(low), float(high))


def mean_interval(scores: np.ndarray, num_resamples: int = 1000, seed: int = 0) -> Interval:
    """Of the mean of (n,) scores, one an image."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise DarkroomError(f"scores: shape {scores.shape}, or NaN in it; give (n,) finite numbers, one an image")
    return interval(lambda rows: float(scores[rows].mean()), len(scores), num_resamples, seed)


def paired_interval(first: np.ndarray, second: np.ndarray, num_resamples: int = 1000, seed: int = 0) -> Interval:
    """Of the mean of first - second, both (n,), where rows of one index belong together (one prompt, one noise).

    Resampling pairs takes away what both share, so a difference shows long before the two own intervals part.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape:
        raise DarkroomError(
            f"scores: shapes {first.shape} and {second.shape} are no pairs; give both for one list of ids"
        )
    return mean_interval(first - second, num_resamples, seed)
