"""Pixels to the bytes of an image file. Knows formats; knows no store, run or layout."""

import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.domain.errors import DarkroomError

CONTENT_TYPES = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}
EXTENSIONS = {"png": "png", "webp": "webp", "jpeg": "jpg"}
LOSSLESS = frozenset({"png"})
MAX_PIXELS = 2**27  # of an image that is read
MAX_BYTES = 2**29  # of its file
_PIL_FORMATS = ("PNG", "WEBP", "JPEG")
_PNG_COMPRESS_LEVEL = 1  # a third of the default's time for about a tenth more bytes


def encode(pixels: np.ndarray, image_format: str, quality: int, text: Mapping[str, str]) -> bytes:
    """Encode (height, width, 3) uint8 RGB as `image_format`, one of `CONTENT_TYPES`.

    `quality` (1 to 100) is for webp and jpeg; `text` goes into PNG files. Equal input gives equal bytes.
    """
    buffer = io.BytesIO()
    _ENCODERS[image_format](Image.fromarray(pixels), buffer, quality, text)
    return buffer.getvalue()


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


def _png(image: Image.Image, buffer: io.BytesIO, _quality: int, text: Mapping[str, str]) -> None:
    info = PngInfo()
    for name, value in text.items():
        _add_text(info, name, value)
    image.save(buffer, "PNG", compress_level=_PNG_COMPRESS_LEVEL, pnginfo=info)


def _add_text(info: PngInfo, name: str, value: str) -> None:
    """Latin-1 in the tEXt chunk that every tool reads, anything else in iTXt. PNG text holds no NUL."""
    value = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        info.add_itxt(name, value.encode("utf-8", "replace").decode())
    else:
        info.add_text(name, value)


def _webp(image: Image.Image, buffer: io.BytesIO, quality: int, _text: Mapping[str, str]) -> None:
    image.save(buffer, "WEBP", quality=quality)


def _jpeg(image: Image.Image, buffer: io.BytesIO, quality: int, _text: Mapping[str, str]) -> None:
    image.save(buffer, "JPEG", quality=quality)


_ENCODERS: dict[str, Callable[[Image.Image, io.BytesIO, int, Mapping[str, str]], None]] = {
    "png": _png,
    "webp": _webp,
    "jpeg": _jpeg,
}
