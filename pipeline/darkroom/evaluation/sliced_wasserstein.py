"""MIND: the sliced Wasserstein distance of two sets of as many images (Berthet et al. 2026, arXiv:2605.06797).

Features are projected on random directions. Along a line the cheapest transport of one set to the other matches them in
their order, so that sorting is all that it takes; no covariance has to be estimated, and few images rank models.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.moments import centred, checked_pair

NUM_PROJECTIONS = 1000
_SCALE = 3  # times the dimension, as the paper has it: of two sets that a shift alone parts, 3 times its squared length
_STREAM = 2605  # of random numbers that are of directions alone
_BLOCK = 128  # directions at once: some megabytes of projections


class SlicedDistance(NamedTuple):
    """A distance, and what each image adds to it."""

    value: float
    influence: np.ndarray  # (n,) float64, of mean 0
    error: float  # standard error, of the directions' choice alone


def mind(features: np.ndarray, reference: np.ndarray, num_projections: int = NUM_PROJECTIONS, seed: int = 0) -> float:
    """3 d times the mean over directions of the squared 2-Wasserstein distance of the projections, of two (n, d).

    The seed decides the directions. Grows as n gets smaller, also where both sets come from one source.
    """
    return mind_and_influence(features, reference, num_projections, seed).value


def mind_and_influence(
    features: np.ndarray, reference: np.ndarray, num_projections: int = NUM_PROJECTIONS, seed: int = 0
) -> SlicedDistance:
    """MIND, and its derivative in each image's weight: 3 d times the mean of the directions' Kantorovich potentials,
    by which the distance of so many images varies (del Barrio and Loubes 2019)."""
    features, reference = (rows.astype(np.float64) for rows in checked_pair(features, reference))
    count, dimension = features.shape
    if len(reference) != count:
        raise DarkroomError(f"MIND: {count:,} images and {len(reference):,} of the reference; give as many of either")
    distances, influence = [], np.zeros(count)
    for block in _directions(dimension, num_projections, seed):
        squared, potentials = _transport(block @ features.T, block @ reference.T)
        distances.append(squared)
        influence += potentials.sum(axis=0)
    each, scale = np.concatenate(distances), _SCALE * dimension
    error = scale * float(each.std(ddof=1)) / num_projections**0.5 if num_projections > 1 else 0.0
    return SlicedDistance(scale * float(each.mean()), scale / num_projections * centred(influence), error)


def mind_curvature(
    features: np.ndarray,
    reference: np.ndarray,
    weights: np.ndarray,
    num_projections: int = NUM_PROJECTIONS,
    seed: int = 0,
) -> float:
    """Second-order change of MIND where the images' weights change by (n,) `weights`, of sum 0.

    Between two places as much is carried further as has come to lie before them, by the reference's quantile there.
    """
    features, reference = (rows.astype(np.float64) for rows in checked_pair(features, reference))
    (count, dimension), found = features.shape, 0.0
    for block in _directions(dimension, num_projections, seed):
        places = block @ features.T
        order = np.argsort(places, axis=1)
        before = np.cumsum(weights[order], axis=1)[:, :-1]
        gaps = np.diff(np.take_along_axis(places, order, axis=1), axis=1)
        carried = np.diff(np.sort(block @ reference.T, axis=1), axis=1) * count
        found += float((np.square(before) * gaps * carried).sum())
    return _SCALE * dimension * found / num_projections


def _directions(dimension: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """(k, dimension) float64, of unit length, evenly spread over the sphere: normal deviates have no direction."""
    rng = np.random.default_rng([seed, _STREAM])
    for start in range(0, count, _BLOCK):
        found = rng.standard_normal((min(_BLOCK, count - start), dimension))
        yield found / np.linalg.norm(found, axis=1, keepdims=True)


def _transport(places: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of (k, n) places on k lines and (k, n) others: (k,) squared distances, and (k, n) potentials.

    A potential rises from one place to the next by twice the integral of how far what lies there is carried back.
    """
    order = np.argsort(places, axis=1)
    first = np.take_along_axis(places, order, axis=1)
    carried = first - np.sort(others, axis=1)
    potentials = np.zeros_like(places)
    rises = np.diff(first, axis=1) * (carried[:, 1:] + carried[:, :-1])
    np.put_along_axis(potentials, order[:, 1:], np.cumsum(rises, axis=1), axis=1)
    return np.square(carried).mean(axis=1), potentials
