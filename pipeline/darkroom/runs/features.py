"""Features of a run's images as they are stored: one Parquet file for each shard and extractor. Knows no extractor.

Each row says which bytes it was made from, so that features never outlive their image: they count only where that is
the digest in the image's record. A file that cannot be read holds no features; whoever scores makes them again.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.runs.commands import on_run
from darkroom.runs.keys import ManifestName, features_key
from darkroom.storage.store import NotFound, Store, StoreSpec


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """Features of N images by one extractor, and how well each fits its own prompt."""

    image_ids: tuple[str, ...]
    features: np.ndarray  # (N, dimension) float32, raw
    cosines: np.ndarray  # (N,) float32, picture and prompt; NaN by an extractor that reads no captions
    truncated: np.ndarray  # (N,) bool: the prompt was longer than the extractor reads

    def taken(self, rows: Sequence[int]) -> "ImageFeatures":
        """The images at these rows."""
        ids = tuple(self.image_ids[row] for row in rows)
        index = np.asarray(rows, np.int64)
        return ImageFeatures(ids, self.features[index], self.cosines[index], self.truncated[index])


def joined(parts: Sequence[ImageFeatures]) -> ImageFeatures:
    """One after another; at least one part."""
    return ImageFeatures(
        tuple(image_id for part in parts for image_id in part.image_ids),
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.cosines for part in parts]),
        np.concatenate([part.truncated for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class ScoredFiles:
    """What scoring a shard's image files gave, image by image: features, or why there are none."""

    images: ImageFeatures  # NaN where an image has none
    sha256s: tuple[str, ...]  # of each file that was looked at; "" for one that was missing
    errors: tuple[str, ...]  # "" where there are features

    @property
    def image_ids(self) -> tuple[str, ...]:
        return self.images.image_ids

    @cached_property
    def _places(self) -> dict[str, int]:
        return {image_id: place for place, image_id in enumerate(self.image_ids)}

    def place(self, image_id: str, sha256: str | None) -> int | None:
        """The row of an image whose file has this digest; None where that file was not looked at."""
        place = self._places.get(image_id)
        return place if place is not None and self.sha256s[place] == sha256 else None

    def error(self, image_id: str, sha256: str | None, store: StoreSpec) -> str | None:
        """Why an image whose record has this digest has no features, and the remedy where another file lay there."""
        place = self._places.get(image_id)
        if place is None or not self.errors[place]:
            return None
        if self.sha256s[place] == sha256:
            return self.errors[place]
        return f"{self.errors[place]}; `{on_run('repair', store)}` brings it back, then evaluate again"

    def of(self, image_ids: Iterable[str]) -> "ScoredFiles":
        """These images in this order; those that were not looked at are left out."""
        return self.taken([self._places[image_id] for image_id in image_ids if image_id in self._places])

    def taken(self, rows: Sequence[int]) -> "ScoredFiles":
        """The images at these rows."""
        return ScoredFiles(
            self.images.taken(rows), tuple(self.sha256s[row] for row in rows), tuple(self.errors[row] for row in rows)
        )


def joined_files(parts: Sequence[ScoredFiles]) -> ScoredFiles:
    """One after another; at least one part."""
    return ScoredFiles(
        joined([part.images for part in parts]),
        tuple(sha256 for part in parts for sha256 in part.sha256s),
        tuple(error for part in parts for error in part.errors),
    )


def put_features(store: Store, extractor_id: str, name: ManifestName, scored: ScoredFiles) -> None:
    """Write a shard's features, over older ones: they are a function of the images, so either is right."""
    store.put(features_key(extractor_id, name), to_bytes(scored))


def get_features(store: Store, extractor_id: str, name: ManifestName) -> ScoredFiles | None:
    """A shard's features; None where it was not scored, or where what is there cannot be read."""
    try:
        return from_bytes(store.get(features_key(extractor_id, name)))
    except (NotFound, ValueError):
        return None


def to_bytes(scored: ScoredFiles) -> bytes:
    images = scored.images
    count, dimension = images.features.shape
    flat = pa.array(np.ascontiguousarray(images.features, np.float32).reshape(count * dimension))
    table = pa.table(
        {
            "image_id": pa.array(images.image_ids, pa.string()),
            "sha256": pa.array(scored.sha256s, pa.string()),
            "error": pa.array(scored.errors, pa.string()),
            "features": pa.FixedSizeListArray.from_arrays(flat, dimension),
            "cosine": pa.array(np.asarray(images.cosines, np.float32), from_pandas=True),
            "truncated": pa.array(images.truncated, pa.bool_()),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def from_bytes(data: bytes) -> ScoredFiles:
    """Raises ValueError for what is damaged, is something else, or was written before rows had digests."""
    try:
        return _parsed(pq.read_table(io.BytesIO(data), page_checksum_verification=True).combine_chunks())
    except (pa.ArrowException, OSError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not readable as features ({(str(error).splitlines() or [''])[0]})") from error


def _parsed(table: pa.Table) -> ScoredFiles:
    column = table["features"]
    values = column.chunk(0).flatten().to_numpy() if column.num_chunks else np.empty(0, np.float32)
    images = ImageFeatures(
        tuple(table["image_id"].to_pylist()),
        values.reshape(len(table), column.type.list_size),
        table["cosine"].to_numpy().astype(np.float32),
        np.asarray(table["truncated"].to_pylist(), bool),
    )
    return ScoredFiles(images, tuple(table["sha256"].to_pylist()), tuple(table["error"].to_pylist()))
