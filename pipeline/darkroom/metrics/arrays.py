"""Features as arrays: one row an image, all finite, walked in blocks so that memory stays small."""

from collections.abc import Iterator

import numpy as np

from darkroom.domain.errors import DarkroomError

BLOCK_ELEMENTS = 2**23  # of a block of rows: 64 MiB of float64
TILE_ROWS = 2048  # of a tile of all pairs of rows, each way


def checked(features: np.ndarray, name: str = "features") -> np.ndarray:
    """The same array if it is (n, d), n and d at least 1, every value finite; else a DarkroomError that says `name`."""
    features = np.asarray(features)
    if features.ndim != 2 or 0 in features.shape or features.dtype.kind not in "fiu":
        found = f"{features.dtype} of shape {features.shape}"
        raise DarkroomError(f"{name}: {found} is no set of features; give numbers of shape (images, dimensions)")
    for rows in row_blocks(*features.shape):
        finite = np.isfinite(features[rows]).all(axis=1)
        if not finite.all():
            row = rows.start + int(finite.argmin())
            raise DarkroomError(f"{name}: row {row} holds NaN or infinity; leave it out or make its features anew")
    return features


def checked_pair(features: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) and (m, d), both checked; a DarkroomError where the dimensions differ."""
    features, reference = checked(features), checked(reference, "reference features")
    if features.shape[1] != reference.shape[1]:
        found = f"{features.shape[1]} dimensions, but the reference has {reference.shape[1]}"
        raise DarkroomError(f"features: they have {found}; take both from one extractor")
    return features, reference


def row_lengths(features: np.ndarray) -> np.ndarray:
    """(n,) float64 Euclidean lengths of (n, d). A DarkroomError where a row has no direction."""
    lengths = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    if not lengths.all():
        raise DarkroomError(f"features: row {int(lengths.argmin())} is all zeros and has no direction; leave it out")
    return lengths


def unit_rows(features: np.ndarray) -> np.ndarray:
    """(n, d) float64 of length 1. A DarkroomError where a row has no direction."""
    return features / row_lengths(features)[:, None]


def centred(values: np.ndarray) -> np.ndarray:
    """(n,) less their mean."""
    return values - values.mean()


def rank_mask(eigenvalues: np.ndarray) -> np.ndarray:
    """(d,) bool of ascending eigenvalues: those above the level of rounding, so that none is negative."""
    return eigenvalues > eigenvalues[-1] * len(eigenvalues) * np.finfo(np.float64).eps


def row_blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    """Slices that cut `num_rows` rows of `num_columns` values into blocks of at most 64 MiB in float64."""
    return _slices(num_rows, max(1, BLOCK_ELEMENTS // num_columns))


def tiles(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray, np.ndarray]]:
    """Every pair of a block of (n, d) and a block of (m, d): both slices, then both blocks as float64.

    A matrix of n x m is thus never made; one tile of it has at most 2,048 x 2,048.
    """
    for rows in _slices(len(first), TILE_ROWS):
        left = first[rows].astype(np.float64)
        for columns in _slices(len(second), TILE_ROWS):
            yield rows, columns, left, second[columns].astype(np.float64)


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, length)) for start in range(0, length, step))
