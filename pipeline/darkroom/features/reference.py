"""What a reference is: images in blocks, or a Gaussian alone; and what metrics take of it."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.moments import Gaussian

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
