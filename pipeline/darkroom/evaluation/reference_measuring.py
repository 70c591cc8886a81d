"""A reference's features: those that are cached, and the rest by the extractor, block by block.

The cache holds features by content, and which files had which content. What is damaged or gone is computed anew, and a
disk that takes nothing costs only the next evaluation its time.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache as once

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.evaluation.extractor import Extractor
from darkroom.evaluation.moments import FeatureMoments
from darkroom.evaluation.reference import (
    DECODING_VERSION,
    Block,
    Images,
    Reference,
    ReferenceFeatures,
    Statistics,
    batches,
    check_count,
    decoded,
)
from darkroom.runs.features import ExtractorInfo, ImageFeatures, ShardFeatures, from_bytes, to_bytes
from darkroom.storage.local import user_cache
from darkroom.storage.store import NotFound, Store

Ids = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """A block's images."""

    ids: Ids
    features: np.ndarray  # (N, dimension) float32
    prompts: tuple[str, ...] | None = None


def reference_features(
    reference: Reference,
    extractor_info: ExtractorInfo,
    load: Callable[[], Extractor],
    cache: Store,
    report: Callable[[str], None],
) -> ReferenceFeatures:
    """A reference as metrics take it. What is computed goes to the cache, even when the rest then fails.

    `load` is called at most once, and not at all where every feature is cached; `report` gets a line as work goes on.
    Raises DarkroomError, in one line, for images that cannot be read, and for statistics of another extractor.
    """
    source = reference.source
    if isinstance(source, Statistics):
        return _of_statistics(reference.name, source, extractor_info)
    cached = FeatureCache(cache, extractor_info.extractor_id, report)
    parts = _cached_parts(source, cached)
    if parts is None:
        parts = _read_parts(reference, source, extractor_info, load, cached, report)
    return _joined(reference.name, parts, extractor_info.dimension)


def _of_statistics(name: str, source: Statistics, extractor: ExtractorInfo) -> ReferenceFeatures:
    """They do not say which extractor they are of; one of another size is no match for certain."""
    found = len(source.gaussian.mean)
    if found != extractor.dimension:
        raise DarkroomError(
            f"reference {name}: statistics of {found} dimensions, but extractor {extractor.name} has "
            f"{extractor.dimension}; give statistics of the same extractor, or images"
        )
    return ReferenceFeatures(name, source.digest, (), None, source.gaussian)


def _cached_parts(source: Images, cached: "FeatureCache") -> list[Part] | None:
    """Everything, where files that did not change have all their features cached: then nothing is read."""
    blocks = cached.blocks(source.listing) if source.listing else None
    parts: list[Part] = []
    for ids in blocks or ():
        features = cached.features(ids)
        if features is None:
            return None
        parts.append(Part(ids, features))
    return parts or None


def _read_parts(
    reference: Reference,
    source: Images,
    extractor_info: ExtractorInfo,
    load: Callable[[], Extractor],
    cached: "FeatureCache",
    report: Callable[[str], None],
) -> list[Part]:
    parts: list[Part] = []
    faults: list[DarkroomError] = []
    num_done, load = 0, once(load)
    for block in source.blocks():
        features = block.stored(extractor_info.extractor_id)
        if features is None:
            features = cached.features(block.ids)
        if features is None:
            features = _computed(block, load, faults)
            if not faults:
                cached.put_features(block.ids, features)
        parts.append(Part(block.ids, features, block.prompts))
        num_done += len(block.ids)
        report(_progress(reference, num_done))
    _refuse(faults)
    if source.listing:
        cached.put_blocks(source.listing, [part.ids for part in parts])
    return parts


def _computed(block: Block, load: Callable[[], Extractor], faults: list[DarkroomError]) -> np.ndarray:
    """Features of a block; once an image has a fault, only those of the others that have one too are searched for."""
    pictures = decoded(block.files(), faults)
    rows = [load().features(batch) for batch in batches(pictures) if not faults]
    return np.concatenate(rows) if rows else np.empty((0, 0), np.float32)


def _refuse(faults: Sequence[DarkroomError]) -> None:
    if faults:
        others = f" ({len(faults) - 1} more images of it have faults too)" if len(faults) > 1 else ""
        raise DarkroomError(f"{faults[0]}{others}") from faults[0]


def _progress(reference: Reference, num_done: int) -> str:
    total = f" of {reference.num_images:,}" if reference.num_images else ""
    return f"reference {reference.name}: {num_done:,}{total} images"


def _joined(name: str, parts: Sequence[Part], dimension: int) -> ReferenceFeatures:
    """All images in order of their ids, so that neither names nor folders decide which ones a subset gets."""
    ids = [image_id for part in parts for image_id in part.ids]
    check_count(name, len(ids))
    order = sorted(range(len(ids)), key=ids.__getitem__)
    rank = np.empty(len(ids), np.int64)
    rank[order] = np.arange(len(ids))
    features = np.empty((len(ids), dimension), np.float32)
    start = 0
    for part in parts:
        features[rank[start : start + len(part.ids)]] = part.features
        start += len(part.ids)
    in_order = tuple(ids[index] for index in order)
    of_all = hashlib.sha256("\n".join(in_order).encode()).hexdigest()
    prompts = [prompt for part in parts for prompt in part.prompts or ()]
    prompts_in_order = tuple(prompts[index] for index in order) if len(prompts) == len(ids) else None
    return ReferenceFeatures(name, of_all, in_order, features, FeatureMoments.of(features).gaussian(), prompts_in_order)


def cached_captions(
    captions: Sequence[str], extractor: ExtractorInfo, read: Callable[[], np.ndarray], cache: Store
) -> np.ndarray:
    """(n, dimension) float32 of captions, none of them twice; `read` is called where they are not cached."""
    return cached_rows(tuple(digest("caption", caption) for caption in captions), extractor, read, cache)


def cached_rows(ids: Ids, extractor: ExtractorInfo, read: Callable[[], np.ndarray], cache: Store) -> np.ndarray:
    """(n, dimension) float32 of what these ids name; `read` is called where they are not cached."""
    cached = FeatureCache(cache, extractor.extractor_id, lambda _line: None)
    found = cached.features(ids)
    if found is None:
        found = read()
        cached.put_features(ids, found)
    return found


def default_cache() -> Store:
    """Where the user keeps caches."""
    return user_cache("references")


class FeatureCache:
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

    def put_features(self, ids: Ids, features: np.ndarray) -> None:
        cosines, truncated = np.full(len(ids), np.nan, np.float32), np.zeros(len(ids), bool)
        images = ImageFeatures(ids, features, cosines, truncated)
        self._put(self._features_key(ids), to_bytes(ShardFeatures(images, ids, ("",) * len(ids))))

    def blocks(self, listing: str) -> list[Ids] | None:
        """What the files of a listing held when they were last read."""
        try:
            return [tuple(ids) for ids in json.loads(self._cache.get(_listing_key(listing)))]
        except (NotFound, OSError, ValueError, TypeError):
            return None

    def put_blocks(self, listing: str, blocks: Sequence[Ids]) -> None:
        self._put(_listing_key(listing), json.dumps(blocks).encode())

    def _features_key(self, ids: Ids) -> str:
        return f"features/{self._extractor_id}/{digest('block', DECODING_VERSION, *ids)}.parquet"

    def _put(self, key: str, data: bytes) -> None:
        if self._is_writable:
            try:
                self._cache.put(key, data)
            except OSError as error:
                self._is_writable = False
                self._report(
                    f"{self._cache.describe()} cannot be written ({error.strerror or error}): nothing is cached"
                )


def _listing_key(listing: str) -> str:
    return f"listings/{listing}.json"
