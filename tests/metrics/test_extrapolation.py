import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.extrapolation import extrapolated_fid
from darkroom.metrics.frechet import frechet_distance
from darkroom.metrics.gaussian import Gaussian
from darkroom.metrics.moments import FeatureMoments

_TRUTH = 16 * 0.5**2  # N(0.5, I) against N(0, I)


def drawn(seed: int, num_images: int = 800) -> tuple[np.ndarray, list[str], Gaussian]:
    features = np.random.default_rng(seed).normal(0.5, 1, size=(num_images, 16))
    return features, [f"image {row}" for row in range(num_images)], Gaussian(np.zeros(16), np.eye(16), None)


def test_it_takes_most_of_the_bias_away() -> None:
    errors, plain_errors = [], []
    for seed in range(20):
        features, ids, reference = drawn(seed)
        errors.append(extrapolated_fid(features, ids, reference, seed=seed) - _TRUTH)
        plain_errors.append(frechet_distance(FeatureMoments.of(features).gaussian(), reference) - _TRUTH)
    assert np.mean(plain_errors) > 0.1
    assert abs(np.mean(errors)) < np.mean(plain_errors) / 2


def test_order_changes_nothing_and_the_seed_does() -> None:
    features, ids, reference = drawn(0)
    order = np.random.default_rng(1).permutation(len(ids))
    found = extrapolated_fid(features, ids, reference)
    assert extrapolated_fid(features[order], [ids[row] for row in order], reference) == pytest.approx(found, rel=1e-12)
    assert extrapolated_fid(features, ids, reference, seed=1) != found


def test_too_few_images_for_a_line_are_refused() -> None:
    features, ids, reference = drawn(0, num_images=2)
    with pytest.raises(DarkroomError, match="2 images at 15 points"):
        extrapolated_fid(features, ids, reference)


def test_ids_must_fit_the_rows() -> None:
    features, ids, reference = drawn(0, num_images=100)
    with pytest.raises(DarkroomError, match="99 for 100 images"):
        extrapolated_fid(features, ids[1:], reference)
