import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.moments import FeatureMoments


def assert_equal(found: FeatureMoments, expected: FeatureMoments) -> None:
    assert found.count == expected.count
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-9)
    np.testing.assert_allclose(found.scatter, expected.scatter, rtol=1e-9, atol=1e-9 * np.abs(expected.scatter).max())


@settings(max_examples=60, deadline=None)
@given(data=st.data(), offset=st.sampled_from([0.0, -3.0, 1e6]), seed=st.integers(0, 2**32 - 1))
def test_merging_in_any_order_and_any_tree_equals_one_pass(data: st.DataObject, offset: float, seed: int) -> None:
    features = np.random.default_rng(seed).normal(offset, 1 + np.arange(5), size=(200, 5))
    cuts = sorted(data.draw(st.sets(st.integers(1, 199), max_size=8)))
    parts = [FeatureMoments.of(part) for part in np.split(features, cuts)] + [FeatureMoments.empty(5)]
    while len(parts) > 1:
        first, second = (parts.pop(data.draw(st.integers(0, len(parts) - 1))) for _ in range(2))
        parts.append(first + second)
    assert_equal(parts[0], FeatureMoments.of(features))


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_mean_and_covariance_equal_numpy(offset: float) -> None:
    features = np.random.default_rng(1).normal(offset, 2, size=(300, 7))
    moments = FeatureMoments.of(features)
    np.testing.assert_allclose(moments.mean, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance(), np.cov(features, rowvar=False), rtol=1e-9, atol=1e-9)


def test_many_blocks_equal_one(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(2).normal(3, 1, size=(257, 6)).astype(np.float32)
    whole = FeatureMoments.of(features)
    monkeypatch.setattr("darkroom.metrics.features._BLOCK_ELEMENTS", 60)  # ten rows a block
    assert_equal(FeatureMoments.of(features), whole)
    assert_equal(FeatureMoments.empty(6).add(features[:100]).add(features[100:]), whole)


def test_half_precision_features_are_summed_in_double() -> None:
    features = np.full((5000, 2), 100.0, dtype=np.float16)  # the sum is past what float16 holds
    assert FeatureMoments.of(features).mean.tolist() == [100.0, 100.0]


def test_the_gaussian_knows_its_count() -> None:
    assert FeatureMoments.of(np.eye(4)).gaussian().count == 4


def test_the_sum_of_nothing_is_nothing() -> None:
    assert (FeatureMoments.empty(3) + FeatureMoments.empty(3)).count == 0


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.array([[0.0, 1.0], [np.nan, 0.0]]), "row 1 holds NaN"),
        (np.array([[np.inf, 1.0], [-np.inf, 0.0]]), "row 0 holds NaN or infinity"),
        (np.zeros(3), r"shape \(3,\)"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (np.array([["a"]]), "no set of features"),
    ],
)
def test_what_is_no_set_of_features_is_refused(features: np.ndarray, message: str) -> None:
    with pytest.raises(DarkroomError, match=message):
        FeatureMoments.of(features)


def test_moments_of_two_extractors_are_not_added() -> None:
    with pytest.raises(DarkroomError, match="3 and 4 dimensions"):
        FeatureMoments.empty(3) + FeatureMoments.empty(4)


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(DarkroomError, match="at least two"):
        FeatureMoments.of(np.ones((1, 3))).covariance()
