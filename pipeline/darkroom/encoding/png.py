"""Pixels to PNG, several times as fast as Pillow does it, by choosing once what Pillow tries for every line.

Portable Network Graphics, third edition (W3C 2025). Each line is stored as its difference from the one above (filter
type 2, "Up"), and compressed as runs and Huffman codes alone, which is what zlib has for such lines (`Z_RLE`). Both
are numpy's and zlib's work, which leave the interpreter's lock to others meanwhile.
"""

import struct
import zlib
from collections.abc import Mapping

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2  # filter type
_RGB_8 = (8, 2, 0, 0, 0)  # bits a channel, colour type, compression, filter, interlace


def write_png(pixels: np.ndarray, text: Mapping[str, str]) -> bytes:
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
