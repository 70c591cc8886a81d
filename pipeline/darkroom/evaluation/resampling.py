"""Resampling: 95 % intervals by the bootstrap, and random subsets that the images' own ids decide.

Most intervals here are of influence values. An image's influence value is a figure's derivative in that image's weight
(Hampel 1974): (n,) float64 of mean 0. The bootstrap of their mean tells how far the figure of n other such images may
lie (the infinitesimal jackknife, Efron 1982), and that of the difference of two sets' values tells the same of the
difference of two figures. Resampling the images themselves would not: a resample repeats images, and a repeated image
is a pair at distance 0 and nothing new. References count as fixed.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest

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
    `frechet.frechet_interval`).
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


def sample_keys(ids: Sequence[str], num_images: int, seed: int, purpose: str) -> np.ndarray:
    """(num_images,) uint64: a digest of each image's id, the seed and what the subsets are for."""
    if len(ids) != num_images:
        raise DarkroomError(f"ids: {len(ids)} for {num_images} images; give one for each row of features")
    repeated = [name for name, times in Counter(ids).items() if times > 1]
    if repeated:
        raise DarkroomError(f"ids: {repeated[0]!r} stands there more than once; give every image its own id")
    return np.array([int(digest("subset", purpose, seed, name, length=16), 16) for name in ids], dtype=np.uint64)


def subset(keys: np.ndarray, draw: int, size: int) -> np.ndarray:
    """(size,) indices of the draw's images, without repeats, in an order that depends on the keys alone.

    Every draw gives each image a new rank, by the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
    """
    return np.argsort(_mixed(keys + _mixed(np.array([draw + 1], dtype=np.uint64))))[:size]


def _mixed(values: np.ndarray) -> np.ndarray:
    """Of uint64, whose products wrap around as they should."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
