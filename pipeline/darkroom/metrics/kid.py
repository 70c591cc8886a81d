"""Kernel Inception distance: unlike FID it has no bias, so it serves few images too. Knows features, not models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.features import checked_pair
from darkroom.metrics.kernels import cubic, kernel_sum
from darkroom.metrics.subsets import sample_keys, subset


@dataclass(frozen=True)
class SubsetKid:
    """Mean and standard deviation (ddof=0) of KID over subsets; the deviation is of one subset, not of the mean."""

    mean: float
    std: float


def kid(features: np.ndarray, reference: np.ndarray) -> float:
    """Unbiased MMD^2 of (n, d) and (m, d), kernel (x . y / d + 1)^3: Binkowski et al. 2018, Gretton et al. 2012 eq. 3.

    No pair is an image with itself. Below 0 by chance where the distance is about 0.
    """
    features, reference = checked_pair(features, reference)
    cross = kernel_sum(cubic, features, reference) / (len(features) * len(reference))
    return _mean_of_other_pairs(features) + _mean_of_other_pairs(reference) - 2 * cross


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


def _mean_of_other_pairs(features: np.ndarray) -> float:
    count, dimension = features.shape
    if count < 2:
        raise DarkroomError("KID: a set of one image has no pairs; give at least two")
    with_itself = ((np.einsum("nd,nd->n", features, features, dtype=np.float64) / dimension + 1) ** 3).sum()
    return float(kernel_sum(cubic, features, features) - with_itself) / (count * (count - 1))
