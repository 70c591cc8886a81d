import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.frechet import frechet_distance
from darkroom.metrics.gaussian import Gaussian
from darkroom.metrics.moments import FeatureMoments
from tests.metrics.references import reference_values


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


def test_it_equals_every_reference_package() -> None:
    for case in reference_values("fid"):
        found = seeded_distance(case["seed"], case["N"], case["C"])
        for package in ("torch_fidelity", "clean_fid_sqrtm", "pytorch_fid_sqrtm", "torchmetrics_float64"):
            assert found == pytest.approx(case[package], rel=1e-6), (case, package)


def test_fewer_images_than_dimensions_are_as_exact_as_many() -> None:
    rng = np.random.RandomState(2023)
    first, second = rng.randn(8, 128), rng.randn(8, 128)
    # From the features themselves no zero eigenvalue comes up: |A B^T|_* of the centred rows.
    centred = [(rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1) for rows in (first, second)]
    cross = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    shift = first.mean(axis=0) - second.mean(axis=0)
    expected = shift @ shift + sum(np.square(rows).sum() for rows in centred) - 2 * cross
    assert seeded_distance(2023, 8, 128) == pytest.approx(expected, rel=1e-13)


def test_a_shift_by_one_in_2048_dimensions_is_2048() -> None:
    identity = np.eye(2048)
    first, second = Gaussian(np.zeros(2048), identity, None), Gaussian(np.ones(2048), identity, None)
    assert frechet_distance(first, second) == pytest.approx(2048, rel=1e-12)


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
