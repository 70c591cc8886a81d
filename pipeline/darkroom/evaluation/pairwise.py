"""Figures from all pairs of images: kernel distances (KID, CMMD); precision, recall, density and coverage.

None assumes a Gaussian. All pairs are walked tile by tile, so memory does not grow with their number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.moments import centred, checked_pair, tiles
from darkroom.evaluation.resampling import sample_keys, subset

_SIGMA = 10  # of CMMD's kernel
_SCALE = 1000  # of CMMD, to make the figures easy to read, as the paper does

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (n, d), (m, d) float64 -> (n, m) float64


def cubic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(x . y / d + 1)^3: the kernel of Binkowski et al. 2018."""
    values = first @ second.T / first.shape[1] + 1
    return values * values * values  # an order faster than a power


def squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n, m) of (n, d) and (m, d), never negative."""
    norms = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)
    return np.maximum(norms - 2 * (first @ second.T), 0)


def gaussian(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """exp(-|x - y|^2 / (2 sigma^2)), (n, m) of (n, d) and (m, d)."""
    return np.exp(squared_distances(first, second) / (-2 * _SIGMA**2))


def row_sums(kernel: Kernel, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n,) float64: for each row of (n, d), the kernel's sum over all rows of (m, d)."""
    sums = np.zeros(len(first))
    for rows, _, left, right in tiles(first, second):
        sums[rows] += kernel(left, right).sum(axis=1)
    return sums


def kernel_sum(kernel: Kernel, first: np.ndarray, second: np.ndarray) -> float:
    """Sum of the kernel over all n x m pairs of (n, d) and (m, d), in float64."""
    return float(sum(kernel(left, right).sum() for _, _, left, right in tiles(first, second)))


def kid(features: np.ndarray, reference: np.ndarray) -> float:
    """Unbiased MMD^2 of (n, d) and (m, d), kernel (x . y / d + 1)^3: Binkowski et al. 2018, Gretton et al. 2012 eq. 3.

    No pair is an image with itself. Below 0 by chance where the distance is about 0.
    """
    features, reference = checked_pair(features, reference)
    cross = kernel_sum(cubic, features, reference) / (len(features) * len(reference))
    return _mean_of_other_pairs(features) + _mean_of_other_pairs(reference) - 2 * cross


def _mean_of_other_pairs(features: np.ndarray) -> float:
    count, dimension = features.shape
    if count < 2:
        raise DarkroomError("KID: a set of one image has no pairs; give at least two")
    with_itself = ((np.einsum("nd,nd->n", features, features, dtype=np.float64) / dimension + 1) ** 3).sum()
    return float(kernel_sum(cubic, features, features) - with_itself) / (count * (count - 1))


def kid_influence(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Of (n, d) against (m, d): twice how much nearer each image is to the others than to the reference.

    The first term of Hoeffding's decomposition (Hoeffding 1948), with other images only, as KID has it. Where both
    sets come from one source that term is 0, and chance makes the interval wider than need be.
    """
    features, reference = checked_pair(features, reference)
    itself = (np.einsum("nd,nd->n", features, features, dtype=np.float64) / features.shape[1] + 1) ** 3
    among = (row_sums(cubic, features, features) - itself) / (len(features) - 1)
    return centred(2 * (among - row_sums(cubic, features, reference) / len(reference)))


@dataclass(frozen=True)
class SubsetKid:
    """Mean and standard deviation (ddof=0) of KID over subsets; the deviation is of one subset, not of the mean."""

    mean: float
    std: float


def kid_over_subsets(
    features: np.ndarray,
    ids: Sequence[str],
    reference: np.ndarray,
    reference_ids: Sequence[str],
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> SubsetKid:
    """KID as it is usually stated: over `num_subsets` pairs of subsets, each drawn without repeats from both sets.

    Who is drawn depends on the ids and the seed alone: equal bits whatever the order of rows.
    """
    features, reference = checked_pair(features, reference)
    for name, rows in (("features", features), ("reference features", reference)):
        if not 2 <= subset_size <= len(rows):
            raise DarkroomError(f"{name}: {len(rows)} images for a subset_size of {subset_size}; give one of 2 to that")
    keys = sample_keys(ids, len(features), seed, "kid")
    reference_keys = sample_keys(reference_ids, len(reference), seed, "kid reference")
    found = [
        kid(features[subset(keys, draw, subset_size)], reference[subset(reference_keys, draw, subset_size)])
        for draw in range(num_subsets)
    ]
    return SubsetKid(float(np.mean(found)), float(np.std(found)))


def cmmd(features: np.ndarray, reference: np.ndarray) -> float:
    """1000 MMD^2 of (n, d) and (m, d) CLIP features of unit length, Gaussian kernel, sigma 10: Jayasumana et al. 2024.

    The estimate of minimum variance, each image paired with itself too (Gretton et al. 2012 eq. 5), as in the paper's
    own code; that code works in float32, this in float64. Never below 0 but for rounding.
    """
    features, reference = checked_pair(features, reference)
    within = _mean(features, features) + _mean(reference, reference)
    return _SCALE * (within - 2 * _mean(features, reference))


def _mean(first: np.ndarray, second: np.ndarray) -> float:
    return kernel_sum(gaussian, first, second) / (len(first) * len(second))


def cmmd_influence(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Of (n, d) against (m, d), both of unit length; each image counts as its own neighbour too, as in CMMD."""
    features, reference = checked_pair(features, reference)
    among = row_sums(gaussian, features, features) / len(features)
    return centred(2 * _SCALE * (among - row_sums(gaussian, features, reference) / len(reference)))


@dataclass(frozen=True)
class Neighbours:
    """All in [0, 1], but density, which may pass 1."""

    precision: float  # of images that lie within a reference image's neighbourhood
    recall: float  # of reference images that lie within an image's neighbourhood
    density: float  # how many reference neighbourhoods an image lies in, over nearest_k
    coverage: float  # of reference images whose neighbourhood holds an image


@dataclass(frozen=True, eq=False)
class Hits:
    """Which images lie in which neighbourhoods: what the four are means of."""

    num_around: np.ndarray  # (n,) int64: reference neighbourhoods that each image lies in
    recalled: np.ndarray  # (m,) bool: the reference image lies in an image's neighbourhood
    covered: np.ndarray  # (m,) bool: the reference image's neighbourhood holds an image


def neighbours(features: np.ndarray, reference: np.ndarray, nearest_k: int = 5) -> Neighbours:
    """Of (n, d) features against (m, d) of real images, equal to the `prdc` package.

    Precision and recall: Kynkaanniemi et al. 2019; density and coverage: Naeem et al. 2020.
    """
    hits = neighbour_hits(features, reference, nearest_k)
    return Neighbours(
        precision=float((hits.num_around > 0).mean()),
        recall=float(hits.recalled.mean()),
        density=float(hits.num_around.mean() / nearest_k),
        coverage=float(hits.covered.mean()),
    )


def neighbour_hits(features: np.ndarray, reference: np.ndarray, nearest_k: int = 5) -> Hits:
    """Of (n, d) features against (m, d): O(n + m) memory beside the features, O((n + m)^2 d) time.

    A neighbourhood is the open ball that reaches to the `nearest_k`-th nearest of the other images of its own set.
    """
    features, reference = checked_pair(features, reference)
    if not 1 <= nearest_k < min(len(features), len(reference)):
        raise DarkroomError(
            f"neighbours: {len(features)} images and {len(reference)} of the reference are too few, as nearest_k="
            f"{nearest_k} needs more than that of each; leave precision, recall, density and coverage out"
        )
    radii, reference_radii = _squared_radii(features, nearest_k), _squared_radii(reference, nearest_k)
    nearest = np.full(len(reference), np.inf)
    recalled = np.zeros(len(reference), dtype=bool)
    num_around = np.zeros(len(features), dtype=np.int64)
    for rows, columns, left, right in tiles(reference, features):
        distances = squared_distances(left, right)
        nearest[rows] = np.minimum(nearest[rows], distances.min(axis=1))
        recalled[rows] |= (distances < radii[columns]).any(axis=1)
        num_around[columns] += (distances < reference_radii[rows, None]).sum(axis=0)
    return Hits(num_around, recalled, nearest < reference_radii)


def _squared_radii(features: np.ndarray, nearest_k: int) -> np.ndarray:
    """(n,) squared distance of each row to its `nearest_k`-th nearest other row."""
    smallest = np.full((len(features), nearest_k), np.inf)
    for rows, columns, left, right in tiles(features, features):
        distances = squared_distances(left, right)
        if rows == columns:
            np.fill_diagonal(distances, np.inf)  # no row is its own neighbour, but a copy of it is
        both = np.concatenate([smallest[rows], distances], axis=1)
        smallest[rows] = np.partition(both, nearest_k - 1, axis=1)[:, :nearest_k]
    return smallest.max(axis=1)
