"""Precision, recall, density, coverage, authenticity and near-duplicates, from all pairs of images.

All pairs are walked tile by tile, so memory does not grow with their number.
"""

from dataclasses import dataclass

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.moments import checked_pair, squared_distances, tiles, unit_rows


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


def authentic(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(n,) bool of (n, d) against (m, d): farther from its nearest reference image than that is from its own nearest.

    AuthPct, of Alaa et al. 2022; other images may be copies.
    """
    features, reference = checked_pair(features, reference)
    if len(reference) < 2:
        raise DarkroomError(f"authenticity: {len(reference)} image(s) of the reference are too few; give 2 or more")
    nearest, which = np.full(len(features), np.inf), np.zeros(len(features), dtype=np.int64)
    for rows, columns, left, right in tiles(reference, features):
        distances = squared_distances(left, right)
        closest = distances.argmin(axis=0)
        values = distances[closest, np.arange(len(closest))]
        is_closer = values < nearest[columns]
        nearest[columns][is_closer] = values[is_closer]
        which[columns][is_closer] = rows.start + closest[is_closer]
    return nearest > _squared_radii(reference, 1)[which]


def near_duplicates(features: np.ndarray, cosine: float) -> np.ndarray:
    """(n,) bool of (n, d): whether another row has at least this cosine with it."""
    unit = unit_rows(features)
    found = np.zeros(len(unit), dtype=bool)
    for rows, columns, left, right in tiles(unit, unit):
        is_near = left @ right.T >= cosine
        if rows == columns:
            np.fill_diagonal(is_near, False)
        found[rows] |= is_near.any(axis=1)
    return found


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
