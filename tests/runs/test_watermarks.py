"""Invisible watermarks: found where they are, not where they are not, and what they survive."""

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.runs.watermarks import check_text, detection, is_found, marked, most_wrong, num_wrong, size_fault
from tests.runs.pictures import natural

PICTURES = [natural(seed, 256) for seed in range(6)]


@pytest.mark.parametrize("text", ["ACM", "Acme", "Darkroom"])
def test_a_mark_is_found_and_hardly_seen(text: str) -> None:
    for picture in PICTURES:
        made = marked(picture, text)
        assert num_wrong(made, text) == 0
        assert is_found(made, text)
        assert not is_found(picture, text)
        assert not is_found(made, text[::-1])
        error = np.mean((made.astype(float) - picture) ** 2)
        assert 10 * np.log10(255**2 / error) > 40, "PSNR in dB"


def test_what_it_survives() -> None:
    larger = [marked(natural(seed, 512), "Acme") for seed in range(4)]
    found = detection(larger, "Acme")
    assert found.num_images == 4
    assert set(found.num_found.values()) == {4}, "JPEG of quality 75 and 50, half the size, three quarters of it"
    assert set(detection(PICTURES, "Acme").num_found.values()) == {0}, "which have none"


@pytest.mark.parametrize(("height", "width"), [(256, 300), (263, 257), (512, 256)])
def test_sides_that_are_no_whole_blocks(height: int, width: int) -> None:
    picture = natural(7, 512)[:height, :width]
    made = marked(picture, "Acme")
    assert made.shape == picture.shape
    assert is_found(made, "Acme")


def test_flat_cut_outs_hold_none() -> None:
    for seed in range(10):
        colour = np.random.default_rng(seed).integers(0, 256, 3)
        picture = np.full((256, 256, 3), 255, np.uint8)
        picture[40:200, 60:180] = colour
        assert not is_found(marked(picture, "Acme"), "Acme")


def test_chance_is_bounded() -> None:
    """By the binomial distribution: 24 bits none, and of 32 and 64 so many may be wrong."""
    assert [most_wrong(text) for text in ("abc", "abcd", "abcdefgh")] == [0, 2, 13]


@pytest.mark.parametrize("text", ["", "ab", "ninechars", "Bär!", "a\nb"])
def test_texts_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(DarkroomError, match="give 3 to 8 ASCII characters"):
        check_text(text)


def test_small_images_are_refused() -> None:
    assert size_fault(256, 256) is None
    assert "from 256x256 on" in str(size_fault(1024, 248))
    assert not is_found(np.zeros((64, 64, 3), np.uint8), "Acme")
