"""MIND against what is known without it: closed forms, every possible matching, and weights that are moved a little."""

from itertools import permutations

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.sliced_wasserstein import mind, mind_and_influence, mind_curvature


def normal(count: int, dimension: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimension))


def test_along_a_line_it_is_the_cheapest_of_all_matchings() -> None:
    first, second = normal(6, 1, 0), normal(6, 1, 1)
    cheapest = min(np.square(first[list(order)] - second).mean() for order in permutations(range(6)))
    assert mind(first, second, num_projections=5) == pytest.approx(3 * cheapest, rel=1e-12)


def test_of_sets_that_a_shift_parts_it_is_three_times_its_square() -> None:
    """As of Gaussians of one covariance: the mean over directions u of (u . s)^2 is |s|^2 / d."""
    features, shift = normal(50, 8, 0), normal(1, 8, 1)
    found = mind_and_influence(features, features + shift, num_projections=4000)
    assert found.value == pytest.approx(3 * np.square(shift).sum(), abs=4 * found.error)
    assert 0 < found.error < 0.05 * found.value


def test_of_large_samples_it_is_the_distance_of_their_gaussians() -> None:
    shift = np.array([2.0, 0, 0, 0])
    assert mind(normal(5_000, 4, 0) + shift, normal(5_000, 4, 1), 400) == pytest.approx(12, rel=0.1)
    doubled = mind(2 * normal(5_000, 4, 0), normal(5_000, 4, 1), 50)  # along each direction (2 - 1)^2
    assert doubled == pytest.approx(3 * 4 * 1, rel=0.05)


def squared_distance(first: np.ndarray, weights: np.ndarray, second: np.ndarray) -> float:
    """Of weighted places on a line to evenly weighted ones, by their quantiles."""
    order = np.argsort(first)
    ends, others = np.cumsum(weights[order]), np.arange(1, len(second) + 1) / len(second)
    edges = np.unique(np.concatenate([[0], ends[:-1], others]))
    middles = (edges[1:] + edges[:-1]) / 2
    places = first[order][np.searchsorted(ends, middles).clip(max=len(first) - 1)]
    return float(np.diff(edges) @ np.square(places - np.sort(second)[np.searchsorted(others, middles)]))


def test_an_images_influence_is_by_how_much_more_of_its_weight_moves_the_distance() -> None:
    first, second, step = normal(7, 1, 2), normal(7, 1, 3) + 1, 1e-6
    even, moved = np.full(7, 1 / 7), []
    for place in range(7):
        weights = (even * (1 + side * step) - side * step * np.eye(7)[place] for side in (-1, 1))
        more, less = (3 * squared_distance(first[:, 0], each, second[:, 0]) for each in weights)
        moved.append((more - less) / (2 * step))
    found = mind_and_influence(first, second, num_projections=3).influence
    np.testing.assert_allclose(found, moved, rtol=1e-4, atol=1e-6)
    assert abs(found.mean()) < 1e-12


def test_the_spread_of_influences_is_the_spread_of_figures() -> None:
    """Of draws of a law, against a reference that stays."""
    real = normal(200, 6, 0)
    found = [mind_and_influence(normal(200, 6, seed) * 1.3 + 0.3, real, 50) for seed in range(1, 81)]
    errors = [each.influence.std(ddof=1) / 200**0.5 for each in found]
    assert np.mean(errors) == pytest.approx(np.std([each.value for each in found]), rel=0.25)


def test_the_seed_decides_the_directions_and_the_order_of_images_nothing() -> None:
    features, others = normal(40, 5, 0), normal(40, 5, 1)
    assert (
        mind(features, others, 20, seed=1) == mind(features, others, 20, seed=1) != mind(features, others, 20, seed=2)
    )
    assert mind(features[::-1], others[::-1], 20) == pytest.approx(mind(features, others, 20), rel=1e-12)
    assert mind(features, features[::-1], 300) == pytest.approx(0, abs=1e-25)


def test_sets_of_unequal_size_are_refused() -> None:
    with pytest.raises(DarkroomError, match="4 images and 5 of the reference; give as many of either"):
        mind(normal(4, 3, 0), normal(5, 3, 0))


def test_curvature_is_that_of_the_mean_where_weights_shift_a_normal_one() -> None:
    """In one dimension: 3 times the squared mean, whose second-order change is 3 times the square of its shift."""
    features, reference = (np.random.default_rng(seed).normal(size=(4000, 1)) for seed in (0, 1))
    weights = 0.1 * (features[:, 0] - features.mean()) / 4000
    shift = float(weights @ features[:, 0])
    assert mind_curvature(features, reference, weights, 1) == pytest.approx(3 * shift**2, rel=0.05)
