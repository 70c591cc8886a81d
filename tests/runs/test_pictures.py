"""Pictures of others: what is made of them before an image is made from them, and what is refused."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from darkroom.domain.settings import Sampling
from darkroom.runs import pictures
from darkroom.runs.pictures import Decoded, decoded, decoded_mask, fitted, joined, sized
from darkroom.storage.named_files import Unreadable

RGB = np.random.default_rng(0).integers(0, 256, (10, 14, 3), dtype=np.uint8)
SAMPLING = Sampling("default", 1.0, 2, 8, 8)


def file(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_picture_is_what_was_saved() -> None:
    assert np.array_equal(decoded(file(RGB)), RGB)
    gray = RGB[..., 0]
    assert np.array_equal(decoded(file(gray)), np.stack([gray] * 3, -1))


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_as_its_exif_says(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    shown = {1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: RGB.swapaxes(0, 1),
             6: RGB[::-1].swapaxes(0, 1), 7: RGB[::-1, ::-1].swapaxes(0, 1),
             8: RGB[:, ::-1].swapaxes(0, 1)}  # fmt: skip
    assert np.array_equal(decoded(file(RGB, exif=exif)), shown[turn])


def test_sixteen_bits_are_scaled() -> None:
    levels = np.array([[0, 257, 256 * 200, 65_535]], np.uint16)
    assert decoded(file(Image.fromarray(levels)))[0, :, 0].tolist() == [0, 1, 199, 255]


def test_what_is_transparent_is_laid_on_white() -> None:
    alpha = np.zeros((2, 2, 4), np.uint8)
    alpha[0, 0], alpha[1, 1] = (10, 20, 30, 255), (0, 0, 0, 128)
    assert decoded(file(alpha)).tolist() == [
        [[10, 20, 30], [255, 255, 255]],
        [[255, 255, 255], [127, 127, 127]],
    ]
    palette = Image.new("P", (1, 1))
    assert decoded(file(palette, transparency=0)).tolist() == [[[255, 255, 255]]]


def test_what_no_gray_is_made_of_is_refused() -> None:
    lab = file(Image.merge("LAB", [Image.new("L", (2, 2), 200)] * 3), "TIFF")
    assert decoded(lab).shape == (2, 2, 3)
    with pytest.raises(Unreadable, match="conversion from LAB"):
        decoded_mask(lab)


def test_a_mask_is_black_and_white() -> None:
    assert decoded_mask(file(np.array([[0, 127, 128, 255]], np.uint8))).tolist() == [[0, 0, 255, 255]]
    with pytest.raises(Unreadable, match="transparent pixels"):
        decoded_mask(file(np.zeros((1, 1, 4), np.uint8)))
    with pytest.raises(Unreadable, match="it has 14x10 pixels and its image 10x14"):
        joined(Decoded(RGB.swapaxes(0, 1)), "mask_image", np.full((10, 14), 255, np.uint8))
    with pytest.raises(Unreadable, match="it is black"):
        joined(Decoded(RGB), "mask_image", np.zeros((10, 14), np.uint8))


def test_what_is_no_single_picture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Image.fromarray(255 - RGB)
    for kind in ("GIF", "WEBP", "PNG"):
        with pytest.raises(Unreadable, match="animated"):
            decoded(file(RGB, kind, save_all=True, append_images=[other]))
    for data in (b"", b"no image", file(RGB)[:200], file(RGB, "JPEG")[:-300]):
        with pytest.raises(Unreadable, match="not readable as an image"):
            decoded(data)
    with pytest.raises(Unreadable, match="fractions"):
        decoded(file(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"))
    monkeypatch.setattr(pictures, "MAX_PIXELS", 100)
    with pytest.raises(Unreadable, match="14x10 pixels, and at most 100"):
        decoded(file(RGB))


def test_an_image_has_its_pictures_size_cut_to_the_models() -> None:
    mask = np.zeros((10, 14), np.uint8)
    mask[1:, 3:] = 255
    found = fitted(Decoded(RGB, mask), sized(Decoded(RGB, mask), SAMPLING, 8))
    assert np.array_equal(found.image, RGB[1:9, 3:11])
    assert found.mask is not None
    assert (found.mask == 255).all()
    with pytest.raises(Unreadable, match="14x10 pixels, and images from a multiple of 8"):
        sized(Decoded(RGB), SAMPLING, 16)


def test_a_picture_is_scaled_to_its_own_shape_alone() -> None:
    scaled, crop = (replace(SAMPLING, image_resize=each, height=24, width=32) for each in ("scale", "crop"))
    whole = Decoded(np.repeat(np.repeat(RGB[:6, :8], 2, 0), 2, 1), np.full((12, 16), 255, np.uint8))
    assert fitted(whole, scaled).size == (24, 32)
    with pytest.raises(Unreadable, match="14x10 pixels, and 32x24 is of another shape"):
        fitted(Decoded(RGB), scaled)
    assert fitted(Decoded(RGB), crop).size == (24, 32)
    same = replace(SAMPLING, image_resize="crop", height=10, width=14)
    assert fitted(Decoded(RGB), same).image is RGB
