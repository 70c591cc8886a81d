"""Pixels to the bytes of an image file. Knows formats; knows no store, run or layout."""

import hashlib
import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from darkroom.domain.errors import DarkroomError
from darkroom.encoding.png import write_png

CONTENT_TYPES = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}
EXTENSIONS = {"png": "png", "webp": "webp", "jpeg": "jpg"}
LOSSLESS = frozenset({"png"})
_MOST_PIXELS_A_SIDE = {"webp": 16_383, "jpeg": 65_500}  # RFC 9649, 2.5; libjpeg's JPEG_MAX_DIMENSION
MAX_PIXELS = 2**27  # of an image that is read
MAX_BYTES = 2**29  # of its file
_PIL_FORMATS = ("PNG", "WEBP", "JPEG")


def size_fault(image_format: str, height: int, width: int) -> str | None:
    """Why no image of so many pixels can be a file of this format; None where it can."""
    most = _MOST_PIXELS_A_SIDE.get(image_format)
    if most is None or max(height, width) <= most:
        return None
    return f"{width}x{height} pixels: {image_format} holds at most {most} a side; use another image_format or size"


def encode(pixels: np.ndarray, image_format: str, quality: int, text: Mapping[str, str]) -> bytes:
    """Encode (height, width, 3) uint8 RGB as `image_format`, one of `CONTENT_TYPES`.

    `quality` (1 to 100) is for webp and jpeg; `text` goes into PNG files. Equal input gives equal bytes.
    """
    return _ENCODERS[image_format](pixels, quality, text)


def pixels_digest(pixels: np.ndarray) -> str:
    """SHA-256 of (height, width, 3) uint8 RGB, row by row: equal for equal pictures in unequal files."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def decode(data: bytes) -> np.ndarray:
    """(height, width, 3) uint8 RGB of an encoded image.

    Raises DarkroomError for what is no image of our formats, or is larger than any that we make: its size is read
    before a pixel is, so that a small file cannot fill the memory.
    """
    if len(data) > MAX_BYTES:
        raise DarkroomError(f"an image file of {len(data)} bytes is larger than the {MAX_BYTES} that are read")
    try:
        with Image.open(io.BytesIO(data), formats=_PIL_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DarkroomError(f"an image of {image.width}x{image.height} has more than {MAX_PIXELS} pixels")
            return np.asarray(image.convert("RGB"))
    except DarkroomError:
        raise
    except Exception as error:  # Pillow raises what its decoders raise
        raise DarkroomError(f"not readable as an image ({type(error).__name__}); is the file whole?") from error


def _png(pixels: np.ndarray, _quality: int, text: Mapping[str, str]) -> bytes:
    return write_png(pixels, text)


def _webp(pixels: np.ndarray, quality: int, _text: Mapping[str, str]) -> bytes:
    return _by_pillow(pixels, "WEBP", quality)


def _jpeg(pixels: np.ndarray, quality: int, _text: Mapping[str, str]) -> bytes:
    return _by_pillow(pixels, "JPEG", quality)


def _by_pillow(pixels: np.ndarray, name: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name, quality=quality)
    return buffer.getvalue()


_ENCODERS: dict[str, Callable[[np.ndarray, int, Mapping[str, str]], bytes]] = {
    "png": _png,
    "webp": _webp,
    "jpeg": _jpeg,
}
