"""Features of a run's images as they are stored: one Parquet file for each shard and extractor. Knows no extractor."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.runs.keys import FEATURES_PREFIX, METADATA_PREFIX, ManifestName, features_key
from pipeline.storage.store import NotFound, Store


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


def scored_shards(store: Store, extractor_id: str) -> set[str]:
    """Keys of the manifests whose shards have features by this extractor."""
    prefix = f"{FEATURES_PREFIX}{extractor_id}/"
    return {METADATA_PREFIX + info.key.removeprefix(prefix) for info in store.list(prefix)}


def put_features(store: Store, extractor_id: str, name: ManifestName, features: ImageFeatures) -> None:
    """Write a shard's features, over older ones: they are a function of the images, so either is right."""
    store.put(features_key(extractor_id, name), to_bytes(features))


def get_features(store: Store, extractor_id: str, name: ManifestName) -> ImageFeatures | None:
    """A shard's features; None where it was not scored."""
    try:
        return from_bytes(store.get(features_key(extractor_id, name)))
    except NotFound:
        return None


def to_bytes(features: ImageFeatures) -> bytes:
    count, dimension = features.features.shape
    flat = pa.array(np.ascontiguousarray(features.features, np.float32).reshape(count * dimension))
    table = pa.table(
        {
            "image_id": pa.array(features.image_ids, pa.string()),
            "features": pa.FixedSizeListArray.from_arrays(flat, dimension),
            "cosine": pa.array(np.asarray(features.cosines, np.float32), from_pandas=True),
            "truncated": pa.array(features.truncated, pa.bool_()),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def from_bytes(data: bytes) -> ImageFeatures:
    table = pq.read_table(io.BytesIO(data)).combine_chunks()
    column = table["features"]
    values = column.chunk(0).flatten().to_numpy() if column.num_chunks else np.empty(0, np.float32)
    return ImageFeatures(
        tuple(table["image_id"].to_pylist()),
        values.reshape(len(table), column.type.list_size),
        table["cosine"].to_numpy().astype(np.float32),
        np.asarray(table["truncated"].to_pylist(), bool),
    )
