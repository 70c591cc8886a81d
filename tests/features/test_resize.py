"""Four ways of resizing, held to hand-made figures and to the packages that they are named after."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.features.resize import RESIZES, resize

REFERENCE = Path(__file__).parents[2].parent / "shared" / "data" / "metrics" / "resize_astronaut_299_reference.npz"
RAMP = [0, 10, 20, 30]


def picture(row: list[int]) -> np.ndarray:
    """Four equal rows, three equal channels."""
    return np.array([[[value] * 3 for value in row]] * 4, np.uint8)


@pytest.mark.parametrize(
    ("mode", "width", "expected"),
    [
        ("tf1", 8, [0, 5, 10, 15, 20, 25, 30, 30]),  # reads at 0, 0.5, ..., 3.5
        ("tf1", 3, [0, 40 / 3, 80 / 3]),
        ("tf1", 2, [0, 20]),
        ("torch", 8, [0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30]),  # reads at -0.25, 0.25, ...
        ("torch", 2, [5, 25]),
        ("torch-aa", 8, [0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30]),
        ("torch-aa", 2, [12.5 / 1.75, 30 - 12.5 / 1.75]),  # weights 0.75, 0.75, 0.25
        ("clean", 2, [11.09375 / 1.890625, 30 - 11.09375 / 1.890625]),  # cubic of a = -0.5 at 0.25, 0.25, 0.75, 1.25
    ],
)
def test_a_ramp_becomes_what_the_formula_says(mode: str, width: int, expected: list[float]) -> None:
    resized = resize(picture(RAMP), (5, width), mode)
    assert (resized.shape, resized.dtype) == ((3, 5, width), np.float32)
    np.testing.assert_allclose(resized, np.broadcast_to(np.float32(expected), (3, 5, width)), atol=2e-5)


@pytest.mark.parametrize("mode", RESIZES)
def test_rows_are_treated_as_columns_are_and_channels_apart(mode: str) -> None:
    wide = np.random.RandomState(0).randint(0, 256, (9, 13, 3)).astype(np.uint8)
    resized = resize(wide, (6, 4), mode)
    np.testing.assert_allclose(resize(wide.transpose(1, 0, 2), (4, 6), mode).transpose(0, 2, 1), resized, atol=1e-4)
    np.testing.assert_allclose(resize(wide[:, :, ::-1], (6, 4), mode), resized[::-1], atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    mode=st.sampled_from(sorted(RESIZES)),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99),
)
def test_any_size_to_any_size_stays_in_range_and_keeps_its_own(
    mode: str, shape: tuple[int, int], size: tuple[int, int], seed: int
) -> None:
    source = np.random.RandomState(seed).randint(0, 256, (*shape, 3)).astype(np.uint8)
    resized = resize(source, size, mode)
    assert resized.shape == (3, *size)
    assert 0 <= resized.min() <= resized.max() <= 255 + 1e-3
    np.testing.assert_allclose(resize(source, shape, mode), source.transpose(2, 0, 1), atol=1e-3)
    flat = np.full_like(source, source[0, 0])
    np.testing.assert_allclose(
        resize(flat, size, mode), np.broadcast_to(source[0, 0][:, None, None], (3, *size)), atol=1e-3
    )


@pytest.mark.parametrize(
    ("name", "mode"),
    [("tf1", "tf1"), ("torch_bilinear", "torch"), ("torch_bilinear_aa", "torch-aa"), ("cleanfid", "clean")],
)
def test_the_astronaut_equals_the_packages(name: str, mode: str) -> None:
    data = pytest.importorskip("skimage.data", reason="needs scikit-image's astronaut")
    if not REFERENCE.is_file():
        pytest.skip("needs the reference pixels of shared/data/metrics")
    resized = resize(data.astronaut(), (299, 299), mode)[:, ::13, ::13]
    np.testing.assert_allclose(resized, np.load(REFERENCE)[name], atol=1e-4)
