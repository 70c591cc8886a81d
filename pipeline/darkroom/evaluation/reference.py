"""What a reference is: encoded images in blocks, or a Gaussian alone; what metrics take of it; images as pixels.

Decoding has limits: a small file may be a picture too large for memory.
"""

import hashlib
import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.evaluation.moments import Gaussian
from darkroom.storage.input_files import one_line

NUM_IMAGES = 256  # in a block: some megabytes of features, and a few batches of any extractor
_BLOCK_BYTES = 64 << 20  # of encoded images in a block, unless one alone has more


@dataclass(frozen=True)
class ReferenceSpec:
    """A reference as it is named in a command."""

    text: str  # demo, or a path, glob or s3:// address of images, tars, Parquet, a run (`run#cell_id`) or an .npz
    endpoint_url: str | None = None  # of an S3 that is not Amazon's


class ImageFile(NamedTuple):
    """One encoded image."""

    name: str  # where it lies, for people
    data: bytes


def nothing_stored(_extractor_id: str) -> np.ndarray | None:
    return None


@dataclass(frozen=True, eq=False)
class Block:
    """Some images of a reference: the unit in which features are computed and cached."""

    ids: tuple[str, ...]  # one an image: SHA-256 of its content
    files: Callable[[], Iterable[ImageFile]]  # in the order of `ids`; called only where features are to be computed
    stored: Callable[[str], np.ndarray | None] = nothing_stored  # extractor_id -> features that lie beside the images
    prompts: tuple[str, ...] | None = None  # of each image; None where they are not known


@dataclass(frozen=True, eq=False)
class Images:
    """A reference whose images can be read."""

    blocks: Callable[[], Iterator[Block]]
    listing: str | None = None  # digest that tells cheaply whether the images are the same; None where none does


@dataclass(frozen=True, eq=False)
class Statistics:
    """A reference of which only mean and covariance are left."""

    digest: str  # SHA-256 of the file
    gaussian: Gaussian


@dataclass(frozen=True, eq=False)
class Reference:
    """What `open_reference` found, without reading an image."""

    name: str  # as the user named it
    kind: str  # demo, images, webdataset, parquet, run or statistics
    num_images: int | None  # None where counting takes reading
    source: Images | Statistics
    left_out: tuple[str, ...] = ()  # sentences: files there that are not read, and why


@dataclass(frozen=True, eq=False)
class ReferenceFeatures:
    """A reference as metrics take it. Its rows are in order of their ids, so equal digests mean equal figures."""

    name: str  # as the user named it
    digest: str  # SHA-256 over the sorted ids, or of the statistics' file
    ids: tuple[str, ...]  # one an image: SHA-256 of its content; none for statistics
    features: np.ndarray | None  # (N, dimension) float32, raw; None for statistics
    gaussian: Gaussian  # its count is None for statistics, which do not say it
    prompts: tuple[str, ...] | None = None  # of each image; None where they are not known


def check_count(name: str, num_images: int) -> None:
    """Raises DarkroomError where there are too few images to compare with."""
    if num_images < 2:
        found = "one image" if num_images else "no image"
        raise DarkroomError(f"reference {name}: {found} found; give at least two, since fewer have no spread")


def in_blocks(files: Iterable[ImageFile]) -> Iterator[Block]:
    """A stream of images cut into blocks that memory holds, the same way each time, so that a cache knows them."""
    block: list[ImageFile] = []
    size_bytes = 0
    for file in files:
        if block and (len(block) == NUM_IMAGES or size_bytes + len(file.data) > _BLOCK_BYTES):
            yield _block(tuple(block))
            block, size_bytes = [], 0
        block.append(file)
        size_bytes += len(file.data)
    if block:
        yield _block(tuple(block))


def _block(files: tuple[ImageFile, ...]) -> Block:
    return Block(tuple(hashlib.sha256(file.data).hexdigest() for file in files), lambda: files)


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
IMAGE_ENDINGS = frozenset(ending for endings in _ENDINGS.values() for ending in endings)
_FORMATS = tuple(_ENDINGS)  # no other decoder sees a byte
DECODING_VERSION = 2  # counted up when the same bytes become other pixels
MAX_IMAGE_BYTES = 256 << 20  # of a file: what the most pixels that Pillow opens take when they are not compressed
_SIXTEEN_BIT = ("PNG", "PPM")  # formats whose gray beyond 8 bits has 16, though Pillow opens it as 32
BATCH_IMAGES = 256
BATCH_PIXELS = 1 << 26  # 192 MiB


def check_size(name: str, size_bytes: int) -> None:
    """Before its bytes are read. Raises DarkroomError."""
    if size_bytes > MAX_IMAGE_BYTES:
        raise DarkroomError(
            f"reference {name}: {size_bytes:,} bytes are more than the {MAX_IMAGE_BYTES:,} that an image may have; "
            "make it smaller, or take it out of the reference"
        )


def decode(file: ImageFile) -> np.ndarray:
    """(height, width, 3) uint8 RGB, as the file holds it: first frame, no turn by EXIF, alpha dropped.

    So do pytorch-fid and clean-fid. Raises DarkroomError for what is no image of IMAGE_ENDINGS, is cut off, has
    more pixels than Pillow's MAX_IMAGE_PIXELS, or has numbers of which nobody can tell which one is white.
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
    return one_line(first_line(error))
