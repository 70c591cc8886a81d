"""Small pictures of stored images, each object fetched once. Knows layouts by what reads them, and no page."""

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import Record
from darkroom.runs.reading import StoredFile, by_key, stored_files
from darkroom.storage.store import Store

SIDE = 256  # pixels, at most
_QUALITY = 82  # of WebP
_NUM_READERS = 4  # threads, each with one object in memory: a container holds a shard's images


@dataclass(frozen=True)
class Thumbnail:
    """A picture, or why there is none."""

    webp: bytes | None
    fault: str = ""


def thumbnails(store: Store, records: Iterable[Record]) -> dict[str, Thumbnail]:
    """By image_id. An image that is missing, or is not what was committed, has no picture."""
    found: dict[str, Thumbnail] = {}
    with ThreadPoolExecutor(_NUM_READERS, "thumbnail") as pool:
        for made in pool.map(lambda group: _of_object(store, group), by_key(records).values()):
            found |= made
    return found


def thumbnail(pixels: np.ndarray) -> bytes:
    """WebP of (height, width, 3) uint8 RGB, in a square of SIDE pixels and never enlarged."""
    small = Image.fromarray(pixels)
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=_QUALITY)
    return buffer.getvalue()


def _of_object(store: Store, records: Sequence[Record]) -> dict[str, Thumbnail]:
    return {file.record.image_id: _of_file(file) for file in stored_files(store, records)}


def _of_file(file: StoredFile) -> Thumbnail:
    try:
        return Thumbnail(thumbnail(file.pixels()))
    except DarkroomError as error:
        return Thumbnail(None, str(error))
