import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.errors import DarkroomError
from pipeline.metrics.moments import FeatureMoments
from pipeline.metrics.statistics import from_npz, to_npz


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # as pytorch-fid writes
    return buffer.getvalue()


def test_what_is_written_comes_back() -> None:
    gaussian = FeatureMoments.of(np.random.default_rng(0).normal(size=(50, 4))).gaussian()
    found = from_npz(to_npz(gaussian.mean, gaussian.covariance))
    np.testing.assert_array_equal(found.mean, gaussian.mean)
    np.testing.assert_array_equal(found.covariance, gaussian.covariance)
    assert found.count is None


def test_pytorch_fid_would_read_it() -> None:
    with np.load(io.BytesIO(to_npz(np.zeros(3), np.eye(3)))) as archive:
        assert (archive["mu"].shape, archive["sigma"].shape) == ((3,), (3, 3))


def test_equal_statistics_make_equal_bytes() -> None:
    assert to_npz(np.zeros(3), np.eye(3)) == to_npz(np.zeros(3), np.eye(3))


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


def test_a_bare_array_is_no_archive() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    with pytest.raises(DarkroomError, match=r"no \.npz of numbers"):
        from_npz(buffer.getvalue())


@settings(max_examples=200, deadline=None)
@given(where=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.booleans())
def test_damaged_bytes_are_refused_or_read_but_never_a_traceback(where: int, value: int, cut: bool) -> None:
    data = bytearray(to_npz(np.zeros(3), np.eye(3)))
    where %= len(data)
    data[where] = value
    with suppress(DarkroomError):
        assert from_npz(bytes(data[:where] if cut else data)).covariance.shape == (3, 3)
