import io
import tracemalloc
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.moments import FeatureMoments
from darkroom.metrics.statistics import from_npz, to_npz


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


@pytest.mark.parametrize(
    "data",
    [
        bomb(mu=huge((1, 0), (20_000,)), sigma=huge((1, 0), (20_000, 20_000))),
        bomb(mu=huge((1, 0), (3000,)), sigma=huge((2, 0), (3000, 3000))),
        bomb(mu=huge((1, 0), (2**40,)), sigma=huge((1, 0), (2**40, 2**40))),
        bomb(mu=huge((1, 0), (10**9,)), sigma=huge((1, 0), (3, 3))),
        bomb(mu=huge((2, 0), (3,), header=2**32 - 1), sigma=huge((1, 0), (3, 3))),
        bomb(mu=huge((1, 0), (3,)), sigma=huge((1, 0), (3, 3))),
    ],
)
def test_a_small_file_takes_little_memory_before_it_is_refused(data: bytes) -> None:
    assert len(data) < 1 << 18
    tracemalloc.start()
    try:
        with pytest.raises(DarkroomError, match=r"bomb\.npz"):
            from_npz(data, "bomb.npz")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_covariance_that_packs_well_is_read_where_it_is_small() -> None:
    data = npz(mu=np.zeros(2048), sigma=np.eye(2048))
    assert len(data) < 1 << 18
    assert from_npz(data).covariance.shape == (2048, 2048)


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
