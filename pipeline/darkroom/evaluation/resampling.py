"""Resampling: 95 % intervals by the bootstrap, and random subsets that the images' own ids decide.

Most intervals here are of influence values. An image's influence value is a figure's derivative in that image's weight
(Hampel 1974): (n,) float64 of mean 0. The bootstrap of their mean tells how far the figure of n other such images may
lie (the infinitesimal jackknife, Efron 1982), and that of the difference of two sets' values tells the same of the
difference of two figures. Resampling the images themselves would not: a resample repeats images, and a repeated image
is a pair at distance 0 and nothing new. References count as fixed.

Images of one prompt are alike, so it is prompts that are resampled: values are added up by prompt first. Of few draws
resamples vary too little, so percentiles are taken further out (Hesterberg 2015, the expanded percentiles). Of many
differences that are looked at together, intervals are made wider, until 95 % of resamples leave none of them out.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest

LEVEL = 0.95  # of intervals
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Interval:
    """A statistic of all images, and between what bounds 95 % of its resamples lie."""

    estimate: float
    low: float
    high: float


def interval(
    statistic: Callable[[np.ndarray], float], num_images: int, num_resamples: int = 1000, seed: int = 0
) -> Interval:
    """Percentile bootstrap of a statistic of (n,) int64 row indices: Efron 1979, with expanded percentiles.

    Not for statistics with a bias that depends on n, such as FID: resamples repeat images, which shifts it (see
    `frechet.frechet_interval`).
    """
    if num_images < 2 or num_resamples < 1:
        found = f"{num_images} image(s) and {num_resamples} resamples"
        raise DarkroomError(f"interval: {found}; give at least 2 images and 1 resample, better hundreds of both")
    rng = np.random.default_rng(seed)
    resampled = [statistic(rng.integers(num_images, size=num_images)) for _ in range(num_resamples)]
    tail = NormalDist().cdf(-expanded(bonferroni(1), num_images))
    low, high = np.quantile(np.array(resampled), (tail, 1 - tail))
    return Interval(float(statistic(np.arange(num_images))), float(low), float(high))


def mean_interval(scores: np.ndarray, num_resamples: int = 1000, seed: int = 0) -> Interval:
    """Of the mean of (n,) scores, one an image."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise DarkroomError(f"scores: shape {scores.shape}, or NaN in it; give (n,) finite numbers, one an image")
    return interval(lambda rows: float(scores[rows].mean()), len(scores), num_resamples, seed)


def by_prompt(influence: np.ndarray, prompts: Sequence[str] | None) -> np.ndarray:
    """(p,) float64 of (n,) influence values: each prompt's sum, scaled so that their mean is the same.

    In the order in which prompts come first; None leaves all as they are.
    """
    if prompts is None:
        return influence
    places: dict[str, int] = {}
    rows = np.array([places.setdefault(prompt, len(places)) for prompt in prompts])
    return np.bincount(rows, influence, len(places)) * (len(places) / len(rows))


@dataclass(frozen=True, eq=False)
class Margins:
    """How far each of k figures may lie from its estimate, all at once."""

    errors: np.ndarray  # (k,) or, of all differences of two of them, (k, k): standard errors
    critical: float  # number of standard errors

    @property
    def widths(self) -> np.ndarray:
        return self.errors * self.critical


def joint_margins(influence: np.ndarray, level: float = LEVEL, num_resamples: int = 1000, seed: int = 0) -> Margins:
    """Of k figures by their (p, k) influence values: the largest of k studentised deviations stays below `critical` in
    `level` of the resamples. Max-T: Westfall and Young 1993.
    """
    errors = influence.std(axis=0, ddof=1) / len(influence) ** 0.5
    largest = [_largest(means, errors) for means in _resampled_means(influence, num_resamples, seed)]
    return Margins(errors, expanded(float(np.quantile(largest, level)), len(influence)))


def joint_margins_of_pairs(
    influence: np.ndarray, level: float = LEVEL, num_resamples: int = 1000, seed: int = 0
) -> Margins:
    """Of the differences of any two of k figures: they hold for the best one too, whichever that is.

    So cells may be compared with the best cell of the same data, as Hsu 1981 does.
    """
    covariance = np.atleast_2d(np.cov(influence, rowvar=False)) / len(influence)
    variances = np.diag(covariance)
    errors = np.sqrt(np.maximum(variances[:, None] + variances - 2 * covariance, 0))
    errors[errors < np.sqrt(variances.max(initial=0)) * _ROUNDING] = 0  # of figures that are equal
    means = _resampled_means(influence, num_resamples, seed)
    largest = [_largest(row[:, None] - row, errors) for row in means]
    return Margins(errors, expanded(float(np.quantile(largest, level)), len(influence)))


def bonferroni(num_figures: int, level: float = LEVEL) -> float:
    """Standard errors that hold for `num_figures` at once, whatever they share."""
    return NormalDist().inv_cdf(1 - (1 - level) / 2 / num_figures)


def expanded(normal: float, num_draws: int) -> float:
    """Standard errors that a mean of so few draws passes as seldom as `normal` of them are passed by a normal deviate.

    Student's quantile by its expansion (Abramowitz and Stegun 1964, 26.7.5), over the resamples' own lack of spread.
    """
    x, degrees = normal, max(1, num_draws - 1)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
    )
    student = x + sum(term / degrees**power for power, term in enumerate(terms, start=1))
    return student * (num_draws / degrees) ** 0.5


def _largest(deviations: np.ndarray, errors: np.ndarray) -> float:
    """In standard errors; what has none does not vary."""
    return float(np.divide(np.abs(deviations), errors, out=np.zeros_like(errors), where=errors > 0).max(initial=0.0))


def _resampled_means(influence: np.ndarray, num_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """(k,) means of (p, k), one a resample, less those of all rows."""
    count, values = len(influence), influence - influence.mean(axis=0)
    rng = np.random.default_rng(seed)
    for _ in range(num_resamples):
        yield np.bincount(rng.integers(count, size=count), minlength=count) @ values / count


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
