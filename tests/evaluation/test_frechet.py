import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.frechet import (
    extrapolated_fid,
    frechet_curvature,
    frechet_deletions,
    frechet_distance,
    sample_size_warnings,
)
from darkroom.evaluation.moments import FeatureMoments, Gaussian
from darkroom.evaluation.resampling import margin


def seeded_distance(seed: int, count: int, dimension: int) -> float:
    rng = np.random.RandomState(seed)
    first, second = rng.randn(count, dimension), rng.randn(count, dimension)
    return frechet_distance(FeatureMoments.of(first).gaussian(), FeatureMoments.of(second).gaussian())


# torch-fidelity 0.4.0 on the same seeded features; pytorch-fid 0.3.0 and clean-fid 0.1.35 agree to 1e-7.
@pytest.mark.parametrize(
    ("seed", "count", "dimension", "expected"),
    [
        (1, 4, 4, 4.753837617472013),
        (2023, 16, 8, 2.000496449004043),
        (2023, 256, 64, 8.623356161617494),
        (2023, 8, 128, 223.752553069279),
    ],
)
def test_it_equals_torch_fidelity(seed: int, count: int, dimension: int, expected: float) -> None:
    well_conditioned = count > dimension
    assert seeded_distance(seed, count, dimension) == pytest.approx(expected, rel=1e-11 if well_conditioned else 1e-7)


def test_fewer_images_than_dimensions_are_as_exact_as_many() -> None:
    rng = np.random.RandomState(2023)
    first, second = rng.randn(8, 128), rng.randn(8, 128)
    # From the features themselves no zero eigenvalue comes up: |A B^T|_* of the centred rows.
    centred = [(rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1) for rows in (first, second)]
    cross = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    shift = first.mean(axis=0) - second.mean(axis=0)
    expected = shift @ shift + sum(np.square(rows).sum() for rows in centred) - 2 * cross
    assert seeded_distance(2023, 8, 128) == pytest.approx(expected, rel=1e-13)


def test_a_shift_by_one_in_each_of_d_dimensions_is_d() -> None:
    first, second = (Gaussian(np.full(300, mean), np.eye(300), None) for mean in (0.0, 1.0))
    assert frechet_distance(first, second) == pytest.approx(300, rel=1e-12)


def test_commuting_covariances_have_a_closed_form() -> None:
    """Of diagonal covariances each dimension is apart: (s1 - s2)^2."""
    first, second = np.array([1.0, 4.0, 0.0]), np.array([9.0, 1.0, 25.0])
    found = frechet_distance(
        Gaussian(np.zeros(3), np.diag(first), None), Gaussian(np.array([2.0, 0, 0]), np.diag(second), None)
    )
    assert found == pytest.approx(4 + ((np.sqrt(first) - np.sqrt(second)) ** 2).sum(), rel=1e-14)


def test_it_is_zero_for_the_same_and_symmetric() -> None:
    rng = np.random.default_rng(0)
    first = FeatureMoments.of(rng.normal(size=(30, 20))).gaussian()
    second = FeatureMoments.of(rng.normal(1, 2, size=(30, 20))).gaussian()
    assert 0 <= frechet_distance(first, first) < 1e-11
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first), rel=1e-12)


def test_no_spread_at_all_leaves_the_shift_and_the_other_spread() -> None:
    point = Gaussian(np.zeros(3), np.zeros((3, 3)), None)
    assert frechet_distance(point, Gaussian(np.ones(3), np.eye(3), None)) == pytest.approx(6)


def test_a_factor_gives_its_covariance_back() -> None:
    covariance = np.cov(np.random.default_rng(0).normal(size=(5, 9)), rowvar=False)
    factor = Gaussian(np.zeros(len(covariance)), covariance, None).factor
    assert factor.shape == (9, 4)
    np.testing.assert_allclose(factor @ factor.T, covariance, atol=1e-14)


def test_dimensions_that_differ_are_refused() -> None:
    with pytest.raises(DarkroomError, match="2 and 3 dimensions"):
        frechet_distance(Gaussian(np.zeros(2), np.eye(2), None), Gaussian(np.zeros(3), np.eye(3), None))


def standard(dimension: int) -> Gaussian:
    return Gaussian(np.zeros(dimension), np.eye(dimension), None)


@pytest.mark.parametrize(("num_images", "dimension"), [(40, 5), (12, 6), (7, 6), (5, 6), (3, 6)])
def test_influence_is_what_the_distance_loses_without_each_image(num_images: int, dimension: int) -> None:
    """Exactly, of fewer images than dimensions too, and of dimensions of very unequal spread."""
    rng = np.random.default_rng(0)
    features = rng.normal(0.3, 1, (num_images, dimension)) * np.geomspace(1, 1e-3, dimension)
    reference = FeatureMoments.of(rng.normal(size=(60, dimension))).gaussian()

    def distance(rows: np.ndarray) -> float:
        return frechet_distance(FeatureMoments.of(rows).gaussian(), reference)

    left_out = np.array([distance(np.delete(features, row, axis=0)) for row in range(num_images)])
    expected = (num_images - 1) * (left_out.mean() - left_out)
    found = frechet_deletions(features, FeatureMoments.of(features).gaussian(), reference)
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_curvature_is_the_second_derivative_in_images_weights() -> None:
    rng = np.random.default_rng(0)
    features, weights = rng.normal(0.3, 1, (40, 5)), rng.normal(size=40) / 40
    weights -= weights.mean()
    reference = FeatureMoments.of(rng.normal(size=(60, 5))).gaussian()

    def distance(step: float) -> float:
        share = 1 / 40 + step * weights
        centred = features - share @ features
        return frechet_distance(Gaussian(share @ features, (centred.T * share) @ centred, 40), reference)

    plain = Gaussian(features.mean(axis=0), np.cov(features.T, ddof=0), 40)
    second = (distance(1e-3) + distance(-1e-3) - 2 * distance(0)) / 1e-6
    assert frechet_curvature(features, plain, reference, weights) == pytest.approx(second / 2, rel=1e-4)


@pytest.mark.slow
def test_intervals_hold_the_true_distance_where_images_are_many() -> None:
    rng, held = np.random.default_rng(0), []
    truth = 3 * 0.5**2 + 3 * (1.5 - 1) ** 2  # N(0.5, 1.5^2 I) against N(0, I)
    for _ in range(200):
        features = rng.normal(0.5, 1.5, (2000, 3))
        gaussian = FeatureMoments.of(features).gaussian()
        width = margin(frechet_deletions(features, gaussian, standard(3)))
        held.append(abs(frechet_distance(gaussian, standard(3)) - truth) <= width)
    assert 0.9 < np.mean(held) < 0.99  # no wider than need be either


_TRUTH = 16 * 0.5**2  # N(0.5, I) against N(0, I)


def drawn(seed: int, num_images: int = 800) -> tuple[np.ndarray, list[str], Gaussian]:
    features = np.random.default_rng(seed).normal(0.5, 1, size=(num_images, 16))
    return features, [f"image {row}" for row in range(num_images)], Gaussian(np.zeros(16), np.eye(16), None)


def test_extrapolation_takes_most_of_the_bias_away() -> None:
    errors, plain_errors = [], []
    for seed in range(20):
        features, ids, reference = drawn(seed)
        errors.append(extrapolated_fid(features, ids, reference, seed=seed) - _TRUTH)
        plain_errors.append(frechet_distance(FeatureMoments.of(features).gaussian(), reference) - _TRUTH)
    assert np.mean(plain_errors) > 0.1
    assert abs(np.mean(errors)) < np.mean(plain_errors) / 2


def test_the_order_of_rows_changes_no_extrapolation_and_the_seed_does() -> None:
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


@pytest.mark.parametrize(
    ("num_images", "num_reference", "expected"),
    [
        (4096, 4096, []),
        (50_000, None, []),
        (4095, None, ["the 4,095 images are fewer"]),
        (4096, 5000, ["4,096 images against 5,000"]),
        (100, 200, ["the 100 images", "the reference's 200 images", "100 images against 200"]),
    ],
)
def test_too_few_or_unequal_numbers_of_images_are_said(
    num_images: int, num_reference: int | None, expected: list[str]
) -> None:
    found = sample_size_warnings(num_images, num_reference, 2048)
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))
