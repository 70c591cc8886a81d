"""Statistics as pytorch-fid keeps them: an .npz archive with `mu` and `sigma`, to and from bytes. Knows no files."""

import io

import numpy as np

from pipeline.domain.errors import DarkroomError
from pipeline.metrics.gaussian import Gaussian

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
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)) or len(mu) == 0:
        shapes = f"mu has shape {mu.shape} and sigma {sigma.shape}"
        raise DarkroomError(f"{name}: {shapes}; they must be (d,) and (d, d) of one extractor")
    for key, values in (("mu", mu), ("sigma", sigma)):
        if not np.isfinite(values).all():
            raise DarkroomError(f"{name}: {key} holds NaN or infinity; make the statistics anew")
    if np.abs(sigma - sigma.T).max() > _SYMMETRY * np.abs(sigma).max():
        raise DarkroomError(f"{name}: sigma is not symmetric, so it is no covariance; make the statistics anew")
    return Gaussian(mu, sigma, None)


def _arrays(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            missing = [key for key in ("mu", "sigma") if key not in archive]
            if missing:
                found = ", ".join(archive) or "nothing"
                raise DarkroomError(f"{name}: no {' and no '.join(missing)} in it, only {found}; give FID statistics")
            return archive["mu"].astype(np.float64), archive["sigma"].astype(np.float64)
    except DarkroomError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds on bytes that are cut or no archive
        raise DarkroomError(f"{name}: {len(data)} bytes are no .npz of numbers; give FID statistics") from error
