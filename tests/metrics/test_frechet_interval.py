import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.frechet import frechet_distance
from darkroom.metrics.frechet_interval import frechet_interval, influence
from darkroom.metrics.gaussian import Gaussian
from darkroom.metrics.moments import FeatureMoments


def standard(dimension: int) -> Gaussian:
    return Gaussian(np.zeros(dimension), np.eye(dimension), None)


def test_influence_is_the_derivative_in_each_images_weight() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 5))
    reference = FeatureMoments.of(rng.normal(0.3, 1, size=(60, 5))).gaussian()

    def weighted(weights: np.ndarray) -> Gaussian:
        mean = weights @ features
        return Gaussian(mean, (features - mean).T @ ((features - mean) * weights[:, None]), None)

    def moved(row: int, step: float) -> float:
        weights = np.full(40, (1 - step) / 40)
        weights[row] += step
        return frechet_distance(weighted(weights), reference)

    found = influence(features, weighted(np.full(40, 1 / 40)), reference)
    expected = [(moved(row, 1e-5) - moved(row, -1e-5)) / 2e-5 for row in range(40)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("dimension", "num_images", "shift", "scale"),
    [
        (4, 1000, 0.5, 1.5),  # far apart: the linear part decides
        (8, 500, 0.0, 1.0),  # the same: nothing but the quadratic part
        (24, 16, 0.3, 1.2),  # fewer images than dimensions
    ],
)
def test_intervals_hold_the_distance_expected_at_that_size(
    dimension: int, num_images: int, shift: float, scale: float
) -> None:
    rng = np.random.default_rng(0)
    found = [
        frechet_interval(rng.normal(shift, scale, (num_images, dimension)), standard(dimension), 200, seed)
        for seed in range(200)
    ]
    expected = np.mean([one.estimate for one in found])
    covered = np.mean([one.low <= expected <= one.high for one in found])
    assert covered > 0.9  # of 0.95, by 200 draws


def test_intervals_hold_the_true_distance_where_images_are_many() -> None:
    rng = np.random.default_rng(0)
    truth = 3 * 0.5**2 + 3 * (1.5 - 1) ** 2  # N(0.5, 1.5^2 I) against N(0, I)
    found = [frechet_interval(rng.normal(0.5, 1.5, (2000, 3)), standard(3), 200, seed) for seed in range(200)]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.9 < covered < 0.99  # no wider than need be either


def test_the_estimate_is_the_distance_and_the_seed_decides_the_bounds() -> None:
    features = np.random.default_rng(0).normal(size=(100, 4))
    first, again, other = (frechet_interval(features, standard(4), 100, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first.estimate == other.estimate == frechet_distance(FeatureMoments.of(features).gaussian(), standard(4))
    assert 0 <= first.low <= first.estimate <= first.high


def test_dimensions_that_differ_are_refused() -> None:
    with pytest.raises(DarkroomError, match="4 and 5 dimensions"):
        frechet_interval(np.random.default_rng(0).normal(size=(9, 4)), standard(5))
