"""Features of references that were computed before, by content, and which files had which content.

A cache: what is damaged or gone is computed again, and a disk that takes nothing costs only the next evaluation its
time. Knows no source of images.
"""

import json
from collections.abc import Callable, Sequence

import numpy as np

from darkroom.domain.identity import digest
from darkroom.references.decoding import VERSION
from darkroom.runs.features import ImageFeatures, ScoredFiles, from_bytes, to_bytes
from darkroom.storage.opening import user_cache
from darkroom.storage.store import NotFound, Store

Ids = tuple[str, ...]


def default_cache() -> Store:
    """The user's own."""
    return user_cache("references")


class Kept:
    """One extractor's view of a cache."""

    def __init__(self, cache: Store, extractor_id: str, report: Callable[[str], None]) -> None:
        self._cache = cache
        self._extractor_id = extractor_id
        self._report = report
        self._is_writable = True

    def features(self, ids: Ids) -> np.ndarray | None:
        """(N, dimension) float32 of a block; None where they are not here."""
        try:
            found = from_bytes(self._cache.get(self._features_key(ids)))
        except (NotFound, OSError, ValueError):
            return None
        return found.images.features if found.image_ids == ids else None

    def keep_features(self, ids: Ids, features: np.ndarray) -> None:
        cosines, truncated = np.full(len(ids), np.nan, np.float32), np.zeros(len(ids), bool)
        images = ImageFeatures(ids, features, cosines, truncated)
        self._put(self._features_key(ids), to_bytes(ScoredFiles(images, ids, ("",) * len(ids))))

    def blocks(self, listing: str) -> list[Ids] | None:
        """What the files of a listing held when they were last read."""
        try:
            return [tuple(ids) for ids in json.loads(self._cache.get(_listing_key(listing)))]
        except (NotFound, OSError, ValueError, TypeError):
            return None

    def keep_blocks(self, listing: str, blocks: Sequence[Ids]) -> None:
        self._put(_listing_key(listing), json.dumps(blocks).encode())

    def _features_key(self, ids: Ids) -> str:
        return f"features/{self._extractor_id}/{digest('block', VERSION, *ids)}.parquet"

    def _put(self, key: str, data: bytes) -> None:
        if self._is_writable:
            try:
                self._cache.put(key, data)
            except OSError as error:
                self._is_writable = False
                self._report(f"{self._cache.describe()} cannot be written ({error.strerror or error}): nothing is kept")


def _listing_key(listing: str) -> str:
    return f"listings/{listing}.json"
