"""Pixels to the bytes of an image file (PNG, WebP or JPEG) and back.

PNG is written here, several times as fast as Pillow does it, by choosing once what Pillow tries for every line
(Portable Network Graphics, third edition, W3C 2025). Each line is stored as its difference from the one above (filter
type 2, "Up"), and compressed as runs and Huffman codes alone, which is what zlib has for such lines (`Z_RLE`). Both are
numpy's and zlib's work, which leave the interpreter's lock to others meanwhile.
"""

import hashlib
import io
import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from darkroom.domain.errors import DarkroomError

CONTENT_TYPES = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}
EXTENSIONS = {"png": "png", "webp": "webp", "jpeg": "jpg"}
LOSSLESS = frozenset({"png"})
_MOST_PIXELS_A_SIDE = {"webp": 16_383, "jpeg": 65_500}  # RFC 9649, 2.5; libjpeg's JPEG_MAX_DIMENSION
MAX_PIXELS = 2**27  # of an image that is read
MAX_BYTES = 2**29  # of its file
_PIL_FORMATS = ("PNG", "WEBP", "JPEG")

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2  # filter type
_RGB_8 = (8, 2, 0, 0, 0)  # bits a channel, colour type, compression, filter, interlace


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
    """(height, width, 3) uint8 RGB with texts by their keywords (1 to 79 printable ASCII characters each)."""
    height, width, _ = pixels.shape
    header = _chunk(b"IHDR", struct.pack(">2I5B", width, height, *_RGB_8))
    texts = [_text(keyword, value) for keyword, value in text.items()]
    return b"".join([_SIGNATURE, header, *texts, _chunk(b"IDAT", _compressed(_filtered(pixels))), _chunk(b"IEND", b"")])


def _filtered(pixels: np.ndarray) -> np.ndarray:
    """(height, 1 + 3 * width) uint8: every line's filter type and its differences, modulo 256."""
    lines = pixels.reshape(len(pixels), -1)
    filtered = np.empty((lines.shape[0], lines.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = lines[0]
    np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
    return filtered


def _compressed(data: np.ndarray) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    return compressor.compress(data.data) + compressor.flush()


def _text(keyword: str, value: str) -> bytes:
    """Latin-1 in the tEXt chunk that every tool reads, anything else in iTXt. PNG text holds no NUL."""
    value = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    try:
        return _chunk(b"tEXt", keyword.encode() + b"\0" + value.encode("latin-1"))
    except UnicodeEncodeError:
        # After the keyword: not compressed, no language, no translated keyword.
        return _chunk(b"iTXt", keyword.encode() + b"\0\0\0\0\0" + value.encode("utf-8", "replace"))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


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
