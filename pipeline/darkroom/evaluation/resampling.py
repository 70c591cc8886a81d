"""Intervals of 95 % from influence values, and random subsets that the images' own ids decide.

An image's influence value is by how much a figure is larger with it than without it, n - 1 times (the jackknife: Tukey
1958), or where a formula gives it, the figure's derivative in the image's weight (Hampel 1974): (n,) float64 of mean 0.
A figure is then about as far from the one that is expected of n images as the mean of such values is from 0, and the
difference of two figures as that of their values' differences. Resampling the images themselves would not tell: a
resample repeats images, and a repeated image is a pair at distance 0 and nothing new. References count as fixed.

Images of one prompt are alike, so it is prompts that are drawn: values become those of prompts first. One figure's
interval is Student's, made wider for the skew of its values, for then the mean and its standard error move together. Of
many differences that are looked at together prompts are resampled, and intervals made wider until 95 % of resamples
leave none of them out. Shares of images, which may be 0 or 1, have Wilson's, and squared distances intervals of logs.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest

LEVEL = 0.95  # of intervals
_ROUNDING = 1e-9
_MOST_RATIO = 3.0  # of half an interval's width to what its logarithm is taken of, which may be 0, or less by chance


def by_prompt(influence: np.ndarray, prompts: Sequence[Hashable] | None) -> np.ndarray:
    """(p,) float64 of (n,) influence values: each prompt's, p - 1 times what the figure loses without its images.

    Exactly so for a mean, which is of fewer images then: the jackknife by groups (Kott 2001), and not their sum alone,
    which takes a prompt of many images for less than it is. In the order in which prompts come first; None, or one
    prompt, leaves all as they are.
    """
    rows = _places(prompts, len(influence))
    num_prompts = rows.max(initial=-1) + 1
    if num_prompts in (1, len(rows)):
        return influence
    return np.bincount(rows, influence) * (num_prompts - 1) / (len(rows) - np.bincount(rows))


def _places(prompts: Sequence[Hashable] | None, count: int) -> np.ndarray:
    """(n,) numbers of prompts, in the order in which they come first; None: each image is one."""
    if prompts is None:
        return np.arange(count)
    places: dict[Hashable, int] = {}
    return np.array([places.setdefault(prompt, len(places)) for prompt in prompts])


def direction(influence: np.ndarray, prompts: Sequence[Hashable] | None) -> np.ndarray:
    """(n,) changes of images' weights, of sum 0, that raise their figure by its standard error, and change little else.

    The least favourable ones (Efron 1987): a prompt's as its influence values are.
    """
    values = by_prompt(influence, prompts)
    values = values - values.mean()
    spread = (np.square(values).sum() * (1 - 1 / len(values))) ** 0.5
    weights = values / spread if spread > 0 else np.zeros(len(values))
    if len(values) < len(influence):
        weights = weights[_places(prompts, len(influence))]
    return (weights - weights.mean()) / len(influence)


@dataclass(frozen=True)
class Interval:
    """An estimate, and between what bounds the figure that it is of lies."""

    estimate: float
    low: float
    high: float


def margin(influence: np.ndarray, is_skewed: bool = True, num_draws: int | None = None) -> float:
    """How far a figure of (p,) influence values may lie from its estimate; their skew may be left out of it.

    `num_draws`: how many of them are draws, see `Margins.of_draws`; None: all.
    """
    margins = joint_margins(influence[:, None])
    margins = margins if num_draws is None else margins.of_draws(num_draws)
    return float((margins if is_skewed else replace(margins, skews=np.zeros(1))).widths[0])


def standard_error(influence: np.ndarray) -> float:
    """Of a figure of (p,) influence values."""
    return float(_errors(influence[:, None])[0])


def share_interval(share: float, influence: np.ndarray, num_draws: int | None = None) -> tuple[float, float]:
    """Of a share of images, by its (p,) influence values: Wilson 1927, of as many draws as would vary as much.

    As survey samples have it (Korn and Graubard 1998). A share of 0 or 1 does not vary: prompts count as its draws, or
    `num_draws` of them, where it is a share of those alone.
    """
    error = _errors(influence[:, None])[0]
    effective = share * (1 - share) / error**2 if error > 0 else num_draws or len(influence)
    squared = bonferroni(1) ** 2 / effective
    centre, width = share + squared / 2, (squared * (share * (1 - share) + squared / 4)) ** 0.5
    return max(0.0, (centre - width) / (1 + squared)), min(1.0, (centre + width) / (1 + squared))


def distance_interval(value: float, width: float, squared: float, curvature: float = 0.0) -> tuple[float, float]:
    """Of a figure that is `squared`, a squared distance of n images, but for what does not vary: symmetrical about the
    logarithm of `squared`.

    `width`: half of Student's, which is too small where chance made the distance small, since the standard error grows
    with its root or faster. Where chance is all of the distance, the jackknife takes the variance for up to twice what
    it is (Efron and Stein 1981), and the interval holds the truth too often. No less is taken: of features with heavy
    tails it would hold it too seldom, and images do not tell one from the other.

    `curvature`: by how much more than `width` the figure grows where images' weights change so far. Where one kind of
    scenes decides it, that is most, and the upper end is no less: the second-order one of DiCiccio and Efron 1992.
    """
    low, high = _about_logarithm(value, width, squared)
    return low, max(high, value + width + curvature)


def number_interval(value: float, width: float, most: float, noise: float) -> tuple[float, float]:
    """Of an effective number of 1 to `most`, which is exp of an entropy: symmetrical about the entropy's logarithm.

    `noise`: by how much the entropy of so few images is too small, about. Where that is all that it lacks to the
    greatest one, the jackknife takes the variance for twice what it is, as of a squared distance.
    """
    entropy, greatest = math.log(value), math.log(most)
    of_noise = min(max(noise / (greatest - entropy), 0.0), 1.0) if entropy < greatest else 1.0
    low, high = _about_logarithm(entropy, width / value * (1 - of_noise / 2) ** 0.5, entropy)
    return math.exp(max(0.0, low)), math.exp(min(greatest, high))


def _about_logarithm(value: float, width: float, positive: float) -> tuple[float, float]:
    """Of a value that may lie `width` off, and is `positive` but for what does not vary; symmetrical about its log."""
    if not width:
        return value, value
    positive = max(positive, width / _MOST_RATIO)
    return value + positive * math.expm1(-width / positive), value + positive * math.expm1(width / positive)


def least_error(num_draws: int) -> float:
    """Standard error of the difference of two shares, even if no prompt differs: then one more would, either way.

    After Bonett and Price 2012.
    """
    return 2**0.5 / num_draws


@dataclass(frozen=True, eq=False)
class Margins:
    """How far each of k figures may lie from its estimate, all at once."""

    errors: np.ndarray  # (k,) or, of all differences of two of them, (k, k): standard errors
    skews: np.ndarray  # likewise: squared skewness of the influence values
    num_draws: np.ndarray | int  # of each, or of all
    critical: float  # number of standard errors that a normal deviate of each stays below

    @property
    def widths(self) -> np.ndarray:
        return self.errors * expanded(self.critical, self.num_draws, self.skews)

    def of_draws(self, num_draws: np.ndarray | int) -> "Margins":
        """Where so many of the rows are draws, and the others 0 by definition: they say nothing of how draws vary."""
        rows = self.num_draws
        errors = self.errors * np.sqrt((rows - 1) / rows * num_draws / (num_draws - 1))
        return replace(self, errors=errors, skews=self.skews * num_draws / rows, num_draws=num_draws)


def joint_margins(
    influence: np.ndarray,
    level: float = LEVEL,
    num_resamples: int = 1000,
    seed: int = 0,
    least: np.ndarray | float = 0.0,
) -> Margins:
    """Of k figures by their (p, k) influence values: the largest of k studentised deviations stays below `critical` in
    `level` of the resamples. Max-T: Westfall and Young 1993. `least`: standard errors that are taken for smaller ones.
    """
    errors, skews = _at_least(least, _errors(influence), _squared_skews(influence))
    if influence.shape[1] == 1:
        return Margins(errors, skews, len(influence), bonferroni(1, level))
    largest = [_largest(means, errors) for means in _resampled_means(influence, num_resamples, seed)]
    return Margins(errors, skews, len(influence), _critical(largest, level))


def joint_margins_of_pairs(
    influence: np.ndarray, level: float = LEVEL, num_resamples: int = 1000, seed: int = 0, least: float = 0.0
) -> Margins:
    """Of the differences of any two of k figures: they hold for the best one too, whichever that is.

    So cells may be compared with the best cell of the same data, as Hsu 1981 does.
    """
    errors, skews = _at_least(least, *_errors_and_skews_of_pairs(influence))
    means = _resampled_means(influence, num_resamples, seed)
    largest = [_largest(row[:, None] - row, errors) for row in means]
    return Margins(errors, skews, len(influence), _critical(largest, level))


def _critical(largest: Sequence[float], level: float) -> float:
    """No fewer standard errors than of one figure: resamples of what does not vary say nothing."""
    return max(float(np.quantile(largest, level)), bonferroni(1, level))


def bonferroni(num_figures: int, level: float = LEVEL) -> float:
    """Standard errors that hold for `num_figures` at once, whatever they share."""
    return NormalDist().inv_cdf(1 - (1 - level) / 2 / num_figures)


def expanded(normal: float, num_draws: np.ndarray | int, squared_skew: np.ndarray | float = 0.0) -> np.ndarray | float:
    """Standard errors that a mean of so few draws passes as seldom as `normal` of them are passed by a normal deviate.

    Student's quantile by its expansion (Abramowitz and Stegun 1964, 26.7.5); and of draws with a skew what that adds by
    the Edgeworth expansion of a studentised mean (Hall 1992, 2.6): what a symmetric bootstrap-t would find, without its
    resamples that happen to vary little.
    """
    x, degrees = normal, np.maximum(1, num_draws - 1)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
    )
    student = x + sum(term / degrees**power for power, term in enumerate(terms, start=1))
    return student + x * (x**4 + 2 * x**2 - 3) / 18 * squared_skew / num_draws


def _errors(influence: np.ndarray) -> np.ndarray:
    """(k,) standard errors of the means of (p, k)."""
    return influence.std(axis=0, ddof=1) / len(influence) ** 0.5


def _squared_skews(influence: np.ndarray) -> np.ndarray:
    """(k,) of (p, k); 0 where nothing varies."""
    values = influence - influence.mean(axis=0)
    return _squared_skew(np.square(values).mean(axis=0), (values**3).mean(axis=0))


def _errors_and_skews_of_pairs(influence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both (k, k), of the differences of any two columns of (p, k); columns that are equal to rounding have none."""
    count, values = len(influence), influence - influence.mean(axis=0)
    products, thirds = values.T @ values / count, np.square(values).T @ values / count
    own, cubes = np.diag(products), np.diag(thirds)
    variances = np.maximum(own[:, None] + own - 2 * products, 0)
    variances[variances < own.max(initial=0) * _ROUNDING**2] = 0
    skews = _squared_skew(variances, cubes[:, None] - 3 * thirds + 3 * thirds.T - cubes)
    return np.sqrt(variances / (count - 1)), skews


def _at_least(least: np.ndarray | float, errors: np.ndarray, skews: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is taken for a smaller error has no skew: it is as likely either way."""
    return np.maximum(errors, least), np.where(errors < least, 0, skews)


def _squared_skew(variances: np.ndarray, thirds: np.ndarray) -> np.ndarray:
    """Of second and third central moments."""
    return np.divide(thirds**2, variances**3, out=np.zeros_like(variances), where=variances > 0)


def _largest(deviations: np.ndarray, errors: np.ndarray) -> float:
    """In standard errors; what has none does not vary."""
    return float(np.divide(np.abs(deviations), errors, out=np.zeros_like(errors), where=errors > 0).max(initial=0.0))


def _resampled_means(influence: np.ndarray, num_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """(k,) means of (p, k), one a resample, less those of all rows; scaled, since resamples vary a little less."""
    count = len(influence)
    values = (influence - influence.mean(axis=0)) * (count / (count - 1)) ** 0.5
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
