"""Random subsets decided by the images' own ids, so that neither sharding nor order changes who is drawn.

Knows no metric.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest


def sample_keys(ids: Sequence[str], num_images: int, seed: int, purpose: str) -> np.ndarray:
    """(num_images,) uint64: a digest of each image's id, the seed and what the subsets are for."""
    if len(ids) != num_images:
        raise DarkroomError(f"ids: {len(ids)} for {num_images} images; give one for each row of features")
    again = [name for name, times in Counter(ids).items() if times > 1]
    if again:
        raise DarkroomError(f"ids: {again[0]!r} stands there more than once; give every image its own id")
    return np.array([int(digest("subset", purpose, seed, name, length=16), 16) for name in ids], dtype=np.uint64)


def subset(keys: np.ndarray, draw: int, size: int) -> np.ndarray:
    """(size,) indices of the draw's images, without repeats, in an order that depends on the keys alone.

    Every draw gives each image a new rank, by the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
    """
    return np.argsort(_mixed(keys + _mixed(np.array([draw + 1], dtype=np.uint64))))[:size]


def _mixed(values: np.ndarray) -> np.ndarray:
    """Of uint64, whose products wrap around as they should."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
