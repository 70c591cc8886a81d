"""Statistics as pytorch-fid keeps them: an .npz archive with `mu` and `sigma`, to and from bytes. Knows no files."""

import io
import math
import zipfile
from collections.abc import Sequence

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.gaussian import Gaussian

_KEYS = ("mu", "sigma")
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_HEAD_BYTES = 1 << 14  # numpy's own headers have some hundred
_ALWAYS_BYTES = 64 << 20  # of numbers, however small the file: what 2,896 dimensions take
_MOST_TIMES = 8  # its size, beyond that
_NAMES_SHOWN = 8
_SYMMETRY = 1e-6  # relative; statistics made in float32 are no better


def to_npz(mu: np.ndarray, sigma: np.ndarray) -> bytes:
    """mu (d,) and sigma (d, d) as a compressed archive that pytorch-fid, clean-fid and others read."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, mu=mu, sigma=sigma)
    return buffer.getvalue()


def from_npz(data: bytes, name: str = "statistics") -> Gaussian:
    """The Gaussian in an archive; its count is None, since the format has none.

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
