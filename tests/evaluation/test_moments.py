import io
import tracemalloc
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.moments import FeatureMoments, from_npz
from tests.evaluation.references import npz


def assert_equal(found: FeatureMoments, expected: FeatureMoments) -> None:
    assert found.count == expected.count
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-9)
    np.testing.assert_allclose(found.scatter, expected.scatter, rtol=1e-9, atol=1e-9 * np.abs(expected.scatter).max())


@pytest.mark.slow
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
    monkeypatch.setattr("darkroom.evaluation.moments.BLOCK_ELEMENTS", 60)  # ten rows a block
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


def test_what_pytorch_fid_writes_is_read() -> None:
    gaussian = FeatureMoments.of(np.random.default_rng(0).normal(size=(50, 4))).gaussian()
    found = from_npz(npz(mu=gaussian.mean, sigma=gaussian.covariance))
    np.testing.assert_array_equal(found.mean, gaussian.mean)
    np.testing.assert_array_equal(found.covariance, gaussian.covariance)
    assert found.count is None


def test_float32_and_further_arrays_are_read_too() -> None:
    data = npz(mu=np.zeros(2, np.float32), sigma=np.eye(2, dtype=np.float32), arr_0=np.zeros(5))
    assert from_npz(data).covariance.dtype == np.float64


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npz(mu=np.zeros(3)), "no sigma in it, only mu"),
        (npz(other=np.zeros(3)), "no mu and no sigma in it, only other"),
        (npz(mu=np.zeros(3), sigma=np.eye(4)), r"mu has shape \(3,\) and sigma \(4, 4\)"),
        (npz(mu=np.zeros((3, 1)), sigma=np.eye(3)), r"mu has shape \(3, 1\)"),
        (npz(mu=np.array([0, np.nan]), sigma=np.eye(2)), "mu holds NaN"),
        (npz(mu=np.zeros(2), sigma=np.full((2, 2), np.inf)), "sigma holds NaN or infinity"),
        (npz(mu=np.zeros(2), sigma=np.array([[1.0, 0.5], [0.0, 1.0]])), "not symmetric"),
        (npz(mu=np.array(["a"]), sigma=np.eye(1)), "no .npz of numbers"),
        (npz(mu=np.array([None]), sigma=np.eye(1)), "no .npz of numbers"),
        (npz(mu=np.zeros(2), sigma=np.eye(2))[:-40], "no .npz of numbers"),
        (b"", "no .npz of numbers"),
        (b"not an archive", "no .npz of numbers"),
    ],
)
def test_what_is_malformed_is_named(data: bytes, message: str) -> None:
    with pytest.raises(DarkroomError, match=rf"coco\.npz: .*{message}"):
        from_npz(data, "coco.npz")


def huge(version: tuple[int, int], shape: tuple[int, ...], header: int | None = None) -> bytes:
    """A member whose header claims what no small file holds, with zeros behind it."""
    head = io.BytesIO()
    write = np.lib.format.write_array_header_1_0 if version == (1, 0) else np.lib.format.write_array_header_2_0
    write(head, {"descr": "<f8", "fortran_order": False, "shape": shape})
    text = head.getvalue()
    if header is not None:
        text = text[:8] + header.to_bytes(4, "little") + text[12:]
    return text + bytes(64 << 20)


def bomb(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mu", "sigma"),
    [
        (((1, 0), (20_000,)), ((1, 0), (20_000, 20_000))),
        (((1, 0), (3000,)), ((2, 0), (3000, 3000))),
        (((1, 0), (2**40,)), ((1, 0), (2**40, 2**40))),
        (((1, 0), (10**9,)), ((1, 0), (3, 3))),
        (((2, 0), (3,), 2**32 - 1), ((1, 0), (3, 3))),
        (((1, 0), (3,)), ((1, 0), (3, 3))),
    ],
)
def test_a_small_file_takes_little_memory_before_it_is_refused(mu: tuple, sigma: tuple) -> None:
    data = bomb(mu=huge(*mu), sigma=huge(*sigma))
    assert len(data) < 1 << 18
    tracemalloc.start()
    try:
        with pytest.raises(DarkroomError, match=r"bomb\.npz"):
            from_npz(data, "bomb.npz")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_covariance_that_packs_well_is_read_where_it_is_small() -> None:
    data = npz(mu=np.zeros(2048), sigma=np.eye(2048))
    assert len(data) < 1 << 18
    assert from_npz(data).covariance.shape == (2048, 2048)


def test_a_bare_array_is_no_archive() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    with pytest.raises(DarkroomError, match=r"no \.npz of numbers"):
        from_npz(buffer.getvalue())


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(where=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.booleans())
def test_damaged_bytes_are_refused_or_read_but_never_a_traceback(where: int, value: int, cut: bool) -> None:
    data = bytearray(npz(mu=np.zeros(3), sigma=np.eye(3)))
    where %= len(data)
    data[where] = value
    with suppress(DarkroomError):
        assert from_npz(bytes(data[:where] if cut else data)).covariance.shape == (3, 3)
