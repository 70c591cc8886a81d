"""Small pictures of stored images, each object fetched once. Knows layouts by what reads them, and no page."""

import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from pipeline.domain.errors import DarkroomError
from pipeline.domain.records import Record
from pipeline.encoding.images import decode
from pipeline.runs.reading import image_files
from pipeline.storage.store import Store

SIDE = 256  # pixels, at most
_QUALITY = 82  # of WebP
_NUM_READERS = 4  # threads, each with one object in memory: a container holds a shard's images


def thumbnails(store: Store, records: Iterable[Record]) -> dict[str, bytes]:
    """image_id -> WebP. An image that is missing or cannot be opened has none."""
    by_key: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_key[record.key or ""].append(record)
    found: dict[str, bytes] = {}
    with ThreadPoolExecutor(_NUM_READERS, "thumbnail") as pool:
        for made in pool.map(lambda key: _of_object(store, key, by_key[key]), by_key):
            found |= made
    return found


def thumbnail(data: bytes) -> bytes:
    """WebP of an encoded image, in a square of SIDE pixels and never enlarged. Raises DarkroomError for no image."""
    small = Image.fromarray(decode(data))
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=_QUALITY)
    return buffer.getvalue()


def _of_object(store: Store, key: str, records: Sequence[Record]) -> dict[str, bytes]:
    made: dict[str, bytes] = {}
    try:
        for image_id, data in image_files(store.get(key), key, records).items():
            made[image_id] = thumbnail(data)
    except (
        LookupError,
        ValueError,
        OSError,
        DarkroomError,
    ):  # missing, damaged, or no image: the page says that it has none
        pass
    return made
