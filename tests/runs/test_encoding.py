import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from darkroom.runs.encoding import CONTENT_TYPES, decode, encode

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("image_format", CONTENT_TYPES)
def test_equal_pixels_give_equal_files_that_any_reader_opens(image_format: str) -> None:
    data = encode(PIXELS, image_format, 90, {})
    assert data == encode(PIXELS, image_format, 90, {})
    assert Image.open(io.BytesIO(data)).size == (24, 16)


def test_png_is_lossless() -> None:
    assert np.array_equal(decode(encode(PIXELS, "png", 90, {"a": "b"})), PIXELS)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 30, 256]), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_png_files_of_any_size_are_whole_and_hold_their_pixels(
    height: int, width: int, colours: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, colours, (height, width, 3)).astype(np.uint8)
    data = encode(pixels, "png", 90, {"a": "b"})
    Image.open(io.BytesIO(data)).verify()  # every chunk's checksum
    assert np.array_equal(decode(data), pixels)
