"""Image files: pixels to the bytes of a PNG, WebP or JPEG and back; and many of them as one file, a WebDataset tar or a
Parquet file for `datasets`.

PNG is written here, several times as fast as Pillow does it, by choosing once what Pillow tries for every line
(Portable Network Graphics, third edition, W3C 2025). Each line is stored as its difference from the one above (filter
type 2, "Up"), and compressed as runs and Huffman codes alone, which is what zlib has for such lines (`Z_RLE`). Both are
numpy's and zlib's work, which leave the interpreter's lock to others meanwhile.

Tars and Parquet files are deterministic functions of their images, and both are read back by an `index` into where each
image lies. What cannot be read of a damaged one is not in its index. Tars are of one kind: plain files without owner or
time, the very bytes that Python's `tarfile` writes, in a tenth of its time, which was half of what a worker did for a
small image. The format is POSIX's ustar (IEEE Std 1003.1-2017, `pax`): a header block before each file, all in blocks
of 512 bytes.
"""

import hashlib
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import ExifTags, Image

from darkroom.domain.errors import DarkroomError
from darkroom.runs.own_columns import joined, json_rows
from darkroom.runs.videos import CODECS, VIDEO_FORMATS, frames_of, is_video, middle_frame

IMAGE_FORMATS = ("png", "webp", "jpeg")
CONTENT_TYPES = {
    "png": "image/png",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "gif": "image/gif",
    "zip": "application/zip",
}
EXTENSIONS = {"png": "png", "webp": "webp", "jpeg": "jpg", "mp4": "mp4", "webm": "webm", "gif": "gif", "zip": "zip"}
LOSSLESS = frozenset({"png", "zip"})
_MOST_PIXELS_A_SIDE = {"webp": 16_383, "jpeg": 65_500}  # RFC 9649, 2.5; libjpeg's JPEG_MAX_DIMENSION
MAX_PIXELS = 2**27  # of an image that is read
MAX_BYTES = 2**29  # of its file
_PIL_FORMATS = ("PNG", "WEBP", "JPEG")

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2  # filter type
_XMP = "XML:com.adobe.xmp"  # keyword of XMP in PNG (ISO 16684-3)
_UNICODE = b"UNICODE\0"  # before a comment in UTF-16 (Exif 3.0, 4.6.6)
_MOST_TEXT_BYTES = (
    65_000  # of a comment or a packet: a segment of JPEG has 65,533. A longer one is in the records alone
)
_RGB_8 = (8, 2, 0, 0, 0)  # bits a channel, colour type, compression, filter, interlace
SIDECAR = ".c2pa"  # ending of a signed manifest's file
_TAR_TEXTS = (".txt", ".json")  # endings of the prompt's and the settings' files in a tar
PLAIN = ("image_id", "prompt", "settings")  # columns of text in a Parquet file, beside the image

_BLOCK_BYTES = 512
_NAME, _SIZE, _SUM = slice(0, 100), slice(124, 135), slice(148, 154)
_PLAIN = bytearray(tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT))  # a header without a name, of no bytes
_PLAIN_SUM = int(_PLAIN[_SUM], 8) - sum(_PLAIN[_SIZE])
_END_BYTES = 2 * _BLOCK_BYTES
_MAX_BYTES = 8 ** (_SIZE.stop - _SIZE.start)


def size_fault(image_format: str, height: int, width: int) -> str | None:
    """Why no image of so many pixels can be a file of this format; None where it can."""
    most = _MOST_PIXELS_A_SIDE.get(image_format)
    if most is None or max(height, width) <= most:
        return None
    return f"{width}x{height} pixels: {image_format} holds at most {most} a side; use another image_format or size"


@dataclass(frozen=True)
class FileText:
    """What a file says of its image beside the pixels."""

    texts: Mapping[str, str] = field(default_factory=dict)  # by keyword, in PNG
    comment: str = ""  # in WebP and JPEG, which have no texts: Exif's UserComment, as image tools read it
    xmp: str = ""  # a packet of XMP (ISO 16684-1)


def encode(pixels: np.ndarray, image_format: str, quality: int, text: FileText = FileText()) -> bytes:
    """Encode (height, width, 3) uint8 RGB as `image_format`, one of `IMAGE_FORMATS`.

    `quality` (1 to 100) is for webp and jpeg. Equal input gives equal bytes.
    """
    return _png(pixels, text) if image_format == "png" else _by_pillow(pixels, image_format, quality, text)


def pixels_digest(pixels: np.ndarray) -> str:
    """SHA-256 of (height, width, 3) uint8 RGB, row by row, or of frames of it: equal for equal pictures in unequal
    files."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def decode(data: bytes) -> np.ndarray:
    """(height, width, 3) uint8 RGB of an encoded image, of a video its middle frame.

    Raises DarkroomError for what is no image of our formats, or is larger than any that we make: its size is read
    before a pixel is, so that a small file cannot fill the memory.
    """
    if len(data) > MAX_BYTES:
        raise DarkroomError(f"an image file of {len(data)} bytes is larger than the {MAX_BYTES} that are read")
    if is_video(data):
        return middle_frame(data)
    try:
        with Image.open(io.BytesIO(data), formats=_PIL_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DarkroomError(f"an image of {image.width}x{image.height} has more than {MAX_PIXELS} pixels")
            return np.asarray(image.convert("RGB"))
    except DarkroomError:
        raise
    except Exception as error:  # Pillow raises what its decoders raise
        raise DarkroomError(f"not readable as an image ({type(error).__name__}); is the file whole?") from error


def decode_all(data: bytes) -> np.ndarray:
    """(height, width, 3) uint8 RGB of an encoded image; of a video (num_frames, height, width, 3). Raises as `decode`
    does."""
    return np.stack([*frames_of(data)]) if is_video(data) else decode(data)


def resized(pixels: np.ndarray, longest: int | None) -> np.ndarray:
    """(height, width, 3) uint8 RGB made smaller, by Lanczos, so that no side is longer; None: as it is."""
    height, width = pixels.shape[:2]
    if longest is None or max(height, width) <= longest:
        return pixels
    scale = longest / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _png(pixels: np.ndarray, text: FileText) -> bytes:
    """(height, width, 3) uint8 RGB with texts by their keywords (1 to 79 printable ASCII characters each)."""
    height, width, _ = pixels.shape
    header = _chunk(b"IHDR", struct.pack(">2I5B", width, height, *_RGB_8))
    texts = [_text(keyword, value) for keyword, value in text.texts.items()]
    texts += [_international_text(_XMP, text.xmp)] if text.xmp else []
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
        return _international_text(keyword, value)


def _international_text(keyword: str, value: str) -> bytes:
    """After the keyword: not compressed, no language, no translated keyword."""
    return _chunk(b"iTXt", keyword.encode() + b"\0\0\0\0\0" + value.encode("utf-8", "replace"))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _by_pillow(pixels: np.ndarray, image_format: str, quality: int, text: FileText) -> bytes:
    buffer, about = io.BytesIO(), {}
    if len(comment := text.comment.encode("utf-16-be", "replace")) <= _MOST_TEXT_BYTES and comment:
        exif = Image.Exif()
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = _UNICODE + comment
        about["exif"] = exif.tobytes()
    if len(xmp := text.xmp.encode("utf-8", "replace")) <= _MOST_TEXT_BYTES and xmp:
        about["xmp"] = xmp
    Image.fromarray(pixels).save(buffer, image_format, quality=quality, **about)
    return buffer.getvalue()


# Many in one file ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EncodedImage:
    """One encoded image and what is stored beside it."""

    image_id: str
    data: bytes
    extension: str
    prompt: str
    settings: str  # JSON
    sidecar: bytes | None = None  # a signed manifest


@dataclass(frozen=True)
class Indexed:
    """One image found in a container."""

    member: str
    offset: int | None  # of its bytes in a tar; its row number in Parquet
    data: bytes
    prompt: str | None  # what is stored beside it, as in its `EncodedImage`
    settings: str | None  # joined with its own columns, where it has some
    sidecar: bytes | None = None


def write_tar(images: Iterable[EncodedImage], own: pa.Table | None = None) -> bytes:
    """A WebDataset shard: `<image_id>.<ext>`, `.txt` (the prompt) and `.json` (the settings, and each image's `own`
    columns) for each image; `.c2pa` where there is a signed manifest."""
    if own is not None:
        rows = zip(images, json_rows(own), strict=True)
        images = (replace(image, settings=joined(image.settings, row)) for image, row in rows)
    return write_ustar(file for image in images for file in _files(image))


def _files(image: EncodedImage) -> Iterator[tuple[str, bytes]]:
    yield f"{image.image_id}.{image.extension}", image.data
    for ending, text in zip(_TAR_TEXTS, (image.prompt, image.settings), strict=True):
        yield image.image_id + ending, text.encode("utf-8", "replace")
    if image.sidecar is not None:
        yield image.image_id + SIDECAR, image.sidecar


def index_tar(container: bytes) -> dict[str, Indexed]:
    """image_id -> where its image lies, for every image of a tar that `write_tar` wrote."""
    found, texts, sidecars = {}, {}, {}
    entries = {name: (start, stop) for name, start, stop in ustar_entries(container)}
    for name, (start, stop) in entries.items():
        if name.endswith(_TAR_TEXTS):
            texts[name] = container[start:stop].decode("utf-8", "replace")
        elif name.endswith(SIDECAR):
            sidecars[name] = container[start:stop]
    for name, (start, stop) in entries.items():
        image_id = name.partition(".")[0]
        if name not in texts and name not in sidecars:
            prompt, settings = (texts.get(image_id + ending) for ending in _TAR_TEXTS)
            sidecar = sidecars.get(image_id + SIDECAR)
            found[image_id] = Indexed(name, start, container[start:stop], prompt, settings, sidecar)
    return found


def write_parquet(images: Iterable[EncodedImage], own: pa.Table | None = None) -> bytes:
    """Images inside Parquet: image {bytes, path}, image_id, prompt, settings (JSON), and each image's `own` columns."""
    images = list(images)
    names = [f"{image.image_id}.{image.extension}" for image in images]
    columns = pa.table({name: pa.array([getattr(image, name) for image in images], pa.string()) for name in PLAIN})
    for described, column in zip(own.schema, own.columns, strict=True) if own is not None else ():
        columns = columns.append_column(described, column)
    return parquet_of_images(names, [image.data for image in images], columns.combine_chunks())


def parquet_of_images(names: Sequence[str], files: Sequence[bytes], columns: pa.Table) -> bytes:
    """Image files by their names in the column `image`, and other columns after it; as `datasets` reads them."""
    found = [{"bytes": data, "path": name} for name, data in zip(names, files, strict=True)]
    image = pa.array(found, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    kind = feature_kind(names[0].rpartition(".")[2]) if names else "image"
    # What `datasets` looks for to open the column as pictures without being told.
    features = {"info": {"features": {"image": {"_type": kind.title()}}}}
    table = columns.add_column(0, "image", image).replace_schema_metadata({"huggingface": json.dumps(features)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="none", row_group_size=64)  # encoded images do not shrink
    return buffer.getvalue()


def feature_kind(image_format: str) -> str:
    """As what `datasets` opens such files; of a ZIP of frames it can open none."""
    return "video" if image_format in CODECS else "image"


def task_of(image_format: str) -> str:
    """What made such files, as the Hugging Face hub calls it."""
    return "text-to-video" if image_format in VIDEO_FORMATS and image_format not in IMAGE_FORMATS else "text-to-image"


def index_parquet(container: bytes) -> dict[str, Indexed]:
    """The same for Parquet, whose footer is at its end: cut off, nothing of it can be read."""
    found = {}
    with suppress(pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        table = pq.read_table(io.BytesIO(container))
        own = table.drop_columns(["image", *PLAIN])
        rows = json_rows(own) if own.num_columns else []
        for number, row in enumerate(table.select(["image", *PLAIN]).to_pylist()):
            image, settings = row["image"], row["settings"]
            settings = joined(settings, rows[number]) if rows else settings
            found[row["image_id"]] = Indexed(image["path"], number, image["bytes"] or b"", row["prompt"], settings)
    return found


# The tar format -------------------------------------------------------------------------------------------------------


def write_ustar(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar of named files; names are ASCII of at most 100 characters."""
    blocks = [
        part for name, data in files for part in (_header(name, len(data)), data, bytes(-len(data) % _BLOCK_BYTES))
    ]
    used = sum(map(len, blocks)) + _END_BYTES
    return b"".join([*blocks, bytes(_END_BYTES + -used % tarfile.RECORDSIZE)])


def ustar_entries(container: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, first byte, and the one after the last, of each file of such a tar, up to where it is broken."""
    start = 0
    while (header := container[start : start + _BLOCK_BYTES]) and (size := _file_size(header)) is not None:
        start += _BLOCK_BYTES
        yield header[_NAME].rstrip(b"\0").decode("ascii", "replace"), start, start + size
        start += size + -size % _BLOCK_BYTES


def _header(name: str, size: int) -> bytes:
    text, digits = name.encode("ascii"), b"%011o" % size
    assert len(text) <= _NAME.stop
    assert size < _MAX_BYTES
    header = _PLAIN.copy()
    header[: len(text)] = text
    header[_SIZE] = digits
    header[_SUM] = b"%06o" % (_PLAIN_SUM + sum(text) + sum(digits))
    return bytes(header)


def _file_size(header: bytes) -> int | None:
    """Of a file with this header; None for a block that is none."""
    digits, stated = header[_SIZE], header[_SUM]
    if len(header) < _BLOCK_BYTES or not (digits.isdigit() and stated.isdigit()):
        return None
    blank = sum(b" " * 8) - sum(header[148:156])  # the sum itself is summed as blanks
    try:
        return int(digits, 8) if int(stated, 8) == sum(header) + blank else None
    except ValueError:
        return None
