"""References of every kind, and an extractor that says how often it was asked for."""

import hashlib
import io
import os
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.evaluation.extractor import Extractor, ExtractorSpec
from darkroom.evaluation.opening import inspect_extractor, load_extractor
from darkroom.evaluation.reference import ReferenceFeatures, ReferenceSpec
from darkroom.evaluation.reference_measuring import reference_features
from darkroom.evaluation.reference_opening import open_reference
from darkroom.runs.encoding import encode
from darkroom.storage.store import Store, StoreSpec, open_store

PIXELS = ExtractorSpec("pixels")


def pictures(count: int, seed: int = 0, side: int = 12) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, side, side + 2, 3), np.uint8))


def encoded(count: int, seed: int = 0, image_format: str = "png") -> list[bytes]:
    return [encode(picture, image_format, 90) for picture in pictures(count, seed)]


def write_folder(folder: Path, images: Mapping[str, bytes]) -> Path:
    for name, data in images.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def tar_bytes(members: Iterable[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write_table(path: Path, **columns: pa.Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


def image_structs(images: Sequence[bytes | None]) -> pa.Array:
    rows = [{"bytes": data, "path": "a.png"} for data in images]
    return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def settle(folder: Path) -> None:
    """Make files old enough that a change of them would show in their times."""
    before = time.time() - 60
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (before, before))


def named(images: Sequence[bytes], ending: str = "png") -> dict[str, bytes]:
    return {f"{number:03}.{ending}": data for number, data in enumerate(images)}


IMAGES = encoded(7)
NAMED = named(IMAGES[:5])


def check_holds_images(found: ReferenceFeatures) -> None:
    """Of all of IMAGES, as the extractor of pixels sees them."""
    by_id = {hashlib.sha256(data).hexdigest(): row for row, data in enumerate(IMAGES)}
    expected = load_extractor(PIXELS).features(pictures(7))[[by_id[each] for each in found.ids]]
    assert list(found.ids) == sorted(by_id)
    assert found.features is not None
    assert found.features.dtype == np.float32
    np.testing.assert_array_equal(found.features, expected)
    assert found.digest == hashlib.sha256("\n".join(sorted(by_id)).encode()).hexdigest()
    assert found.gaussian.count == 7
    np.testing.assert_allclose(found.gaussian.covariance, np.cov(expected.T), atol=1e-9)


class Measuring:
    """Opens references and measures them with one cache, and counts."""

    def __init__(self, cache: Path, spec: ExtractorSpec = PIXELS, make: Callable[[], Extractor] | None = None) -> None:
        self.cache: Store = open_store(StoreSpec(str(cache)))
        self.info = inspect_extractor(spec)
        self.lines: list[str] = []
        self.num_loaded = 0
        self.num_pictures = 0
        self._make = make or (lambda: load_extractor(spec))

    def __call__(self, text: str | Path, endpoint_url: str | None = None) -> ReferenceFeatures:
        reference = open_reference(ReferenceSpec(str(text), endpoint_url))
        return reference_features(reference, self.info, self._load, self.cache, self.lines.append)

    def _load(self) -> Extractor:
        self.num_loaded += 1
        return _Counting(self, self._make())


class _Counting:
    def __init__(self, owner: Measuring, extractor: Extractor) -> None:
        self.info, self._owner, self._extractor = extractor.info, owner, extractor

    def features(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        self._owner.num_pictures += len(batch)
        return self._extractor.features(batch)


def npz(**arrays: np.ndarray) -> bytes:
    """Statistics as pytorch-fid writes them."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
