"""A reference's features: those that are kept, and the rest by the extractor, block by block. Knows no source."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache as once

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.features.extractor import Extractor, ExtractorInfo
from darkroom.metrics.moments import FeatureMoments
from darkroom.references.decoding import batches, decoded
from darkroom.references.kept import Ids, Kept
from darkroom.references.reference import Block, Images, Reference, ReferenceFeatures, Statistics, check_count
from darkroom.storage.store import Store

Part = tuple[Ids, np.ndarray]  # of a block: its ids, and (N, dimension) float32


def reference_features(
    reference: Reference,
    extractor_info: ExtractorInfo,
    load: Callable[[], Extractor],
    cache: Store,
    report: Callable[[str], None],
) -> ReferenceFeatures:
    """A reference as metrics take it. What is computed is kept in the cache, even when the rest then fails.

    `load` is called at most once, and not at all where every feature is kept; `report` gets a line as work goes on.
    Raises DarkroomError, in one line, for images that cannot be read, and for statistics of another extractor.
    """
    source = reference.source
    if isinstance(source, Statistics):
        return _of_statistics(reference.name, source, extractor_info)
    kept = Kept(cache, extractor_info.extractor_id, report)
    parts = _kept_parts(source, kept)
    if parts is None:
        parts = _read_parts(reference, source, extractor_info, load, kept, report)
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


def _kept_parts(source: Images, kept: Kept) -> list[Part] | None:
    """Everything, where files that did not change have all their features kept: then nothing is read."""
    blocks = kept.blocks(source.listing) if source.listing else None
    parts: list[Part] = []
    for ids in blocks or ():
        features = kept.features(ids)
        if features is None:
            return None
        parts.append((ids, features))
    return parts or None


def _read_parts(
    reference: Reference,
    source: Images,
    extractor_info: ExtractorInfo,
    load: Callable[[], Extractor],
    kept: Kept,
    report: Callable[[str], None],
) -> list[Part]:
    parts: list[Part] = []
    faults: list[DarkroomError] = []
    num_done, load = 0, once(load)
    for block in source.blocks():
        features = block.stored(extractor_info.extractor_id)
        if features is None:
            features = kept.features(block.ids)
        if features is None:
            features = _computed(block, load, faults)
            if not faults:
                kept.keep_features(block.ids, features)
        parts.append((block.ids, features))
        num_done += len(block.ids)
        report(_progress(reference, num_done))
    _refuse(faults)
    if source.listing:
        kept.keep_blocks(source.listing, [ids for ids, _ in parts])
    return parts


def _computed(block: Block, load: Callable[[], Extractor], faults: list[DarkroomError]) -> np.ndarray:
    """Features of a block; once an image has a fault, only the others are looked for that have one too."""
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
    ids = [image_id for part, _ in parts for image_id in part]
    check_count(name, len(ids))
    order = sorted(range(len(ids)), key=ids.__getitem__)
    rank = np.empty(len(ids), np.int64)
    rank[order] = np.arange(len(ids))
    features = np.empty((len(ids), dimension), np.float32)
    start = 0
    for part, rows in parts:
        features[rank[start : start + len(part)]] = rows
        start += len(part)
    in_order = tuple(ids[index] for index in order)
    digest = hashlib.sha256("\n".join(in_order).encode()).hexdigest()
    return ReferenceFeatures(name, digest, in_order, features, FeatureMoments.of(features).gaussian())
