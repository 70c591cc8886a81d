"""Statistics as a reference, and a reference's statistics as a file: pytorch-fid's .npz with mu and sigma."""

import hashlib
from pathlib import Path

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.moments import from_npz, to_npz
from darkroom.references.files import File
from darkroom.references.reference import Reference, ReferenceFeatures, Statistics

ENDING = ".npz"


def statistics_reference(name: str, file: File) -> Reference:
    data = file.read()
    gaussian = from_npz(data, f"reference {file.name}")
    return Reference(name, "statistics", None, Statistics(hashlib.sha256(data).hexdigest(), gaussian))


def write_statistics(features: ReferenceFeatures, path: Path) -> None:
    """Mean and covariance as pytorch-fid, clean-fid and `reference=` read them. Raises DarkroomError."""
    if path.suffix != ENDING:
        raise DarkroomError(f"statistics {path}: needed a name that ends in {ENDING}, by which they are known again")
    try:
        path.write_bytes(to_npz(features.gaussian.mean, features.gaussian.covariance))
    except OSError as error:
        raise DarkroomError(f"statistics {path}: cannot be written ({error.strerror}); name another place") from error
