"""Encoded images to pixels, within limits: a small file may be a picture too large for memory."""

import io
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from darkroom.domain.errors import DarkroomError
from darkroom.features.reference import ImageFile
from darkroom.storage.input_files import one_line

_ENDINGS = {  # format, as Pillow calls it -> endings of its files
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    **({"AVIF": (".avif",)} if features.check("avif") else {}),
}
ENDINGS = frozenset(ending for endings in _ENDINGS.values() for ending in endings)
_FORMATS = tuple(_ENDINGS)  # no other decoder sees a byte
VERSION = 2  # counted up when the same bytes become other pixels
MAX_BYTES = 256 << 20  # of a file: what the most pixels that Pillow opens take when they are not compressed
_SIXTEEN_BIT = ("PNG", "PPM")  # formats whose gray beyond 8 bits has 16, though Pillow opens it as 32
BATCH_IMAGES = 256
BATCH_PIXELS = 1 << 26  # 192 MiB


def check_size(name: str, size_bytes: int) -> None:
    """Before its bytes are read. Raises DarkroomError."""
    if size_bytes > MAX_BYTES:
        raise DarkroomError(
            f"reference {name}: {size_bytes:,} bytes are more than the {MAX_BYTES:,} that an image may have; "
            "make it smaller, or take it out of the reference"
        )


def decode(file: ImageFile) -> np.ndarray:
    """(height, width, 3) uint8 RGB, as the file holds it: first frame, no turn by EXIF, alpha dropped.

    So do pytorch-fid and clean-fid. Raises DarkroomError for what is no image of ENDINGS, is cut off, has more pixels
    than Pillow's MAX_IMAGE_PIXELS, or has numbers of which nobody can tell which one is white.
    """
    check_size(file.name, len(file.data))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return np.asarray(_eight_bit(Image.open(io.BytesIO(file.data), formats=_FORMATS)).convert("RGB"))
    except Exception as error:  # decoders raise a dozen kinds on bytes that are cut or spoiled
        raise DarkroomError(
            f"reference {file.name}: cannot be read as an image ({_reason(error)}); replace it, or take it out of "
            "the reference"
        ) from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """Gray of 16 bits scaled to 8; Pillow would clip it to white. Raises ValueError for what has no known white."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        return image
    if image.mode == "F" or (image.mode == "I" and image.format not in _SIXTEEN_BIT):
        raise ValueError("its pixels are 32-bit numbers of no known range; convert it to 8 or 16 bits")
    values = np.asarray(image).astype(np.float32)
    return Image.fromarray((values * (255 / 65535)).round().astype(np.uint8))


def decoded(files: Iterable[ImageFile], faults: list[DarkroomError]) -> Iterator[np.ndarray]:
    """Pictures one by one; those that cannot be decoded are left out and added to `faults`."""
    for file in files:
        try:
            yield decode(file)
        except DarkroomError as error:
            faults.append(error)


def batches(pictures: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """As many pictures at once as memory holds easily."""
    batch: list[np.ndarray] = []
    num_pixels = 0
    for picture in pictures:
        size = picture.shape[0] * picture.shape[1]
        if batch and (len(batch) == BATCH_IMAGES or num_pixels + size > BATCH_PIXELS):
            yield batch
            batch, num_pixels = [], 0
        batch.append(picture)
        num_pixels += size
    if batch:
        yield batch


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # it would name an object in memory
        return f"none of {', '.join(_FORMATS)}"
    return one_line((str(error).strip() or type(error).__name__).splitlines()[0])
