"""Encoded images to pixels: every format that is read safely, and what is refused instead."""

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation import reference
from darkroom.evaluation.reference import IMAGE_ENDINGS, ImageFile, batches, decode
from darkroom.runs.encoding import encode
from tests.evaluation.references import IMAGES, NAMED, Measuring, encoded, write_folder


def test_every_image_format_is_read(tmp_path: Path, measure: Measuring) -> None:
    from PIL import Image

    flat = np.full((8, 8, 3), 77, np.uint8)
    lossless = {"a.png": encode(flat, "png", 0), "b.jpeg": encode(flat, "jpeg", 95)}
    folder = write_folder(tmp_path / "all", lossless | {"c.WebP": encode(flat, "webp", 90)})
    Image.fromarray(flat).save(folder / "d.bmp")
    Image.fromarray(flat[..., 0]).save(folder / "e.jpg")
    Image.fromarray(flat).convert("RGBA").save(folder / "f.png")
    found = measure(folder)
    assert found.features is not None
    np.testing.assert_allclose(found.features, 77 / 255, atol=2 / 255)
    assert len(found.ids) == 6


def test_every_format_that_is_read_safely_is_measured(tmp_path: Path, measure: Measuring) -> None:
    from PIL import Image

    flat = Image.fromarray(np.full((8, 8, 3), 77, np.uint8))
    for ending in sorted(IMAGE_ENDINGS):
        path = tmp_path / "all" / f"{ending[1:]}{ending.upper()}"
        path.parent.mkdir(exist_ok=True)
        flat.convert("1" if ending == ".pbm" else "RGB").save(path, _FORMAT_OF.get(ending))
    found = measure(tmp_path / "all")
    assert len(found.ids) == found.gaussian.count
    same = np.abs(found.features - 77 / 255).max(axis=1) < 3 / 255
    assert np.count_nonzero(~same) == 1  # the bitmap, which is black
    assert found.gaussian.count == len(list((tmp_path / "all").iterdir()))


_FORMAT_OF = {".apng": "PNG", ".jfif": "JPEG", ".jpe": "JPEG", ".dib": "BMP", ".pnm": "PPM", ".pbm": "PPM"}


def _gray(kind: str) -> np.ndarray:
    return np.linspace(0, 65535, 64).reshape(8, 8).astype(kind)


@pytest.mark.parametrize(("image_format", "kind"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("PPM", "<i4")])
def test_gray_of_sixteen_bits_is_scaled(image_format: str, kind: str) -> None:
    found = decode(ImageFile("a", _saved(_gray(kind), image_format)))
    np.testing.assert_array_equal(found, np.repeat((_gray("f8") / 257).round().astype(np.uint8)[..., None], 3, 2))


@pytest.mark.parametrize("kind", ["<i4", "<f4"])
def test_numbers_of_no_known_white_are_refused(kind: str) -> None:
    with pytest.raises(DarkroomError, match="32-bit numbers of no known range; convert it to 8 or 16 bits"):
        decode(ImageFile("a", _saved(_gray(kind), "TIFF")))


@pytest.mark.parametrize(
    ("mode", "image_format"),
    [("1", "PNG"), ("L", "GIF"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("CMYK", "TIFF")],
)
def test_other_modes_become_the_colours_that_they_mean(mode: str, image_format: str) -> None:
    from PIL import Image

    colour = np.full((8, 8, 3), 255, np.uint8)
    colour[:4] = 0
    buffer = io.BytesIO()
    image = Image.fromarray(colour).convert(mode)
    image.save(buffer, image_format, **({"transparency": 0} if mode == "P" else {}))
    np.testing.assert_array_equal(decode(ImageFile("a", buffer.getvalue())), colour)


def _saved(values: np.ndarray, image_format: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, image_format)
    return buffer.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A file of a few bytes that says it is a large picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


BAD_IMAGES = {
    "no bytes": (b"", "none of PNG, JPEG, WEBP, BMP"),
    "text": (b"<html>", "none of PNG, JPEG, WEBP, BMP"),
    "cut off": (IMAGES[0][:-60], "truncated|broken|Truncated"),
    "another format": (b"GIF89a" + bytes(100), "none of PNG, JPEG, WEBP, BMP"),
    "a bomb": (png_of_size(20_000, 20_000), "decompression bomb"),
    "half a bomb": (png_of_size(10_000, 10_000), "decompression bomb"),
}


@pytest.mark.parametrize(("data", "reason"), BAD_IMAGES.values(), ids=list(BAD_IMAGES))
def test_a_bad_image_is_named_before_the_extractor_is_loaded(
    tmp_path: Path, measure: Measuring, data: bytes, reason: str
) -> None:
    write_folder(tmp_path / "a", NAMED | {"-bad.png": data})
    with pytest.raises(DarkroomError, match=rf"a/-bad\.png: cannot be read as an image \(.*({reason}).*; replace it"):
        measure(tmp_path / "a")
    assert measure.num_pictures == 0


def test_bad_images_are_counted(tmp_path: Path, measure: Measuring) -> None:
    write_folder(tmp_path / "a", NAMED | {"001a.png": b"bad", "003a.png": b"bad", "004a.png": b"bad"})
    with pytest.raises(DarkroomError, match=r"001a\.png: .*\(2 more images of it have faults too\)$"):
        measure(tmp_path / "a")


def test_memory_is_bounded_by_pixels_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "BATCH_PIXELS", 100)
    sizes = [(5, 10), (5, 10), (1, 1), (20, 20), (2, 2)]
    found = batches(np.zeros((*size, 3), np.uint8) for size in sizes)
    assert [[picture.shape[:2] for picture in batch] for batch in found] == [
        sizes[:2],
        sizes[2:3],
        sizes[3:4],
        sizes[4:],
    ]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(where=st.integers(0, 10_000), value=st.integers(0, 255), number=st.integers(0, 2))
def test_damaged_bytes_are_decoded_or_refused(where: int, value: int, number: int) -> None:
    data = bytearray(encoded(1, image_format=("png", "jpeg", "webp")[number])[0])
    data[where % len(data)] = value
    with suppress(DarkroomError):
        picture = decode(ImageFile("a", bytes(data)))
        assert (picture.dtype, picture.shape[2:]) == (np.uint8, (3,))
