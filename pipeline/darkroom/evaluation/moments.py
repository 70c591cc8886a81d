"""Features as arrays, walked in blocks; their count, mean and scatter; and the Gaussian fitted to them, as an .npz.

Moments add up: shards are measured apart and merged in any order, so FID of any number of images takes O(d^2) memory.
"""

import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from darkroom.domain.errors import DarkroomError

BLOCK_ELEMENTS = 2**23  # of a block of rows: 64 MiB of float64
TILE_ROWS = 2048  # of a tile of all pairs of rows, each way
_KEYS = ("mu", "sigma")
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_HEAD_BYTES = 1 << 14  # numpy's own headers have some hundred
_ALWAYS_BYTES = 64 << 20  # of numbers, however small the file: what 2,896 dimensions take
_MOST_TIMES = 8  # its size, beyond that
_NAMES_SHOWN = 8
_SYMMETRY = 1e-6  # relative; statistics made in float32 are no better


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
    return eigenvalues > eigenvalues.max(initial=0) * len(eigenvalues) * np.finfo(np.float64).eps


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


def squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n, m) of (n, d) and (m, d), never negative."""
    norms = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)
    return np.maximum(norms - 2 * (first @ second.T), 0)


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


@dataclass(frozen=True, eq=False)
class Gaussian:
    """What a Frechet distance needs of a set of images: mean (d,) float64, covariance (d, d) float64 with ddof 1."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int | None  # of images, where that is known

    @cached_property
    def factor(self) -> np.ndarray:
        """A (d, rank) float64 with A A^T = covariance, columns orthogonal: O(d^3), once, for all that asks for it.

        Eigenvalues at the level of rounding count as zero, negative ones with them.
        """
        values, vectors = np.linalg.eigh(self.covariance)
        nonzero = rank_mask(values)
        return vectors[:, nonzero] * np.sqrt(values[nonzero])


@dataclass(frozen=True, eq=False)
class FeatureMoments:
    """Of n features: count n, mean (d,) float64, and scatter (d, d) float64, the sum of (x - mean)(x - mean)^T.

    The scatter is centred, since plain sums of squares lose all digits where the mean is far larger than the spread.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def empty(cls, dimension: int) -> "FeatureMoments":
        """Of no features: what a sum starts from."""
        return cls(0, np.zeros(dimension), np.zeros((dimension, dimension)))

    @classmethod
    def of(cls, features: np.ndarray) -> "FeatureMoments":
        """Of (n, d) features of any number type, in float64 and two passes: O(n d^2) time, O(d^2) memory."""
        features = checked(features)
        count, dimension = features.shape
        mean = features.sum(axis=0, dtype=np.float64) / count
        scatter = np.zeros((dimension, dimension))
        for rows in row_blocks(count, dimension):
            centred = features[rows] - mean
            scatter += centred.T @ centred  # numpy sees one matrix times itself and does half the work
        return cls(count, mean, scatter)

    def add(self, features: np.ndarray) -> "FeatureMoments":
        """With (n, d) features more. Each call costs O(d^2) beside the work on n: better thousands at once than ten."""
        return self + FeatureMoments.of(features)

    def __add__(self, other: "FeatureMoments") -> "FeatureMoments":
        """Pairwise merge: Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm"."""
        if self.mean.shape != other.mean.shape:
            found = f"{len(self.mean)} and {len(other.mean)} dimensions"
            raise DarkroomError(f"moments: {found} cannot be added; take all features from one extractor")
        count = self.count + other.count
        if count == 0:
            return self
        shift = other.mean - self.mean
        scatter = self.scatter + other.scatter + np.outer(shift, shift * (self.count * other.count / count))
        return FeatureMoments(count, self.mean + shift * (other.count / count), scatter)

    def covariance(self) -> np.ndarray:
        """(d, d) float64, divided by n - 1 as `numpy.cov` and the reference packages do."""
        if self.count < 2:
            raise DarkroomError(f"moments: {self.count} image(s) have no covariance; give at least two")
        return self.scatter / (self.count - 1)

    def gaussian(self) -> Gaussian:
        return Gaussian(self.mean, self.covariance(), self.count)


def from_npz(data: bytes, name: str = "statistics") -> Gaussian:
    """The Gaussian in an archive of mu (d,) and sigma (d, d), as pytorch-fid keeps them; its count is None, since the
    format has none.

    A DarkroomError that calls the archive `name` where it cannot be read, lacks mu or sigma, or where these are not
    finite, of one dimension and symmetric.
    """
    mu, sigma = _arrays(data, name)
    for key, values in (("mu", mu), ("sigma", sigma)):
        if not np.isfinite(values).all():
            raise DarkroomError(f"{name}: {key} holds NaN or infinity; make the statistics anew")
    if np.abs(sigma - sigma.T).max() > _SYMMETRY * np.abs(sigma).max():
        raise DarkroomError(f"{name}: sigma is not symmetric, so it is no covariance; make the statistics anew")
    return Gaussian(mu, sigma, None)


def _arrays(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _members(archive, name)
            shapes = [_shape(archive, member) for member in members]
            _check_shapes(shapes, name)
            _check_size(shapes, members, len(data), name)
            mu, sigma = (_array(archive, member) for member in members)
            return mu, sigma
    except DarkroomError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds on bytes that are cut or no archive
        raise DarkroomError(f"{name}: {len(data)} bytes are no .npz of numbers; give FID statistics") from error


def _members(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    """Those of mu and sigma."""
    found = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    missing = [key for key in _KEYS if key not in found]
    if missing:
        only = ", ".join(list(found)[:_NAMES_SHOWN]) or "nothing"
        raise DarkroomError(f"{name}: no {' and no '.join(missing)} in it, only {only}; give FID statistics")
    return [found[key] for key in _KEYS]


def _shape(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, ...]:
    """From the header, which is short: nothing of the numbers is unpacked."""
    with archive.open(member) as file:
        head = io.BytesIO(file.read(_HEAD_BYTES))
    return _HEADERS[np.lib.format.read_magic(head)](head)[0]


def _check_shapes(shapes: Sequence[tuple[int, ...]], name: str) -> None:
    mu, sigma = shapes
    if len(mu) != 1 or mu[0] == 0 or sigma != (*mu, *mu):
        raise DarkroomError(
            f"{name}: mu has shape {mu} and sigma {sigma}; they must be (d,) and (d, d) of one extractor"
        )


def _check_size(shapes: Sequence[tuple[int, ...]], members: Sequence[zipfile.ZipInfo], packed: int, name: str) -> None:
    """A small file may claim more than memory holds; no covariance of images packs so tightly."""
    claimed = max(math.prod(shape) * np.dtype(np.float64).itemsize for shape in shapes)
    if max(claimed, *(member.file_size for member in members)) > max(_ALWAYS_BYTES, _MOST_TIMES * packed):
        raise DarkroomError(
            f"{name}: {packed:,} bytes that claim {claimed:,} bytes of numbers are no statistics of images; give FID "
            "statistics"
        )


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False).astype(np.float64)
