"""The Vendi score: how many different images there are, in effect. Knows features or their kernel, not models."""

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.features import checked, row_blocks


def vendi_score(features: np.ndarray) -> float:
    """Of (n, d) features under the cosine kernel, in [1, n]: Friedman and Dieng 2023, order q = 1.

    Rows are scaled to unit length first. The kernel's nonzero eigenvalues are those of the (d, d) sum of outer
    products, which is taken where it is the smaller of the two.
    """
    features = checked(features)
    lengths = row_lengths(features)
    if len(features) <= features.shape[1]:
        unit = features / lengths[:, None]
        return vendi_score_of_kernel(unit @ unit.T)
    return _effective_number(np.linalg.eigvalsh(second_moment(features, lengths)))


def row_lengths(features: np.ndarray) -> np.ndarray:
    """(n,) float64. A DarkroomError where a row has no direction."""
    lengths = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    if not lengths.all():
        raise DarkroomError(f"features: row {int(lengths.argmin())} is all zeros and has no direction; leave it out")
    return lengths


def second_moment(features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(d, d) float64: the mean of u u^T over rows u of unit length."""
    total = np.zeros((features.shape[1], features.shape[1]))
    for rows in row_blocks(*features.shape):
        unit = features[rows] / lengths[rows, None]
        total += unit.T @ unit
    return total / len(features)


def vendi_score_of_kernel(kernel: np.ndarray) -> float:
    """Of an (n, n) positive semidefinite kernel with ones on its diagonal."""
    kernel = checked(kernel, "kernel")
    if kernel.shape[0] != kernel.shape[1] or not np.allclose(np.diagonal(kernel), 1):
        raise DarkroomError(f"kernel: shape {kernel.shape}; give an (n, n) kernel with ones on its diagonal")
    return _effective_number(np.linalg.eigvalsh(kernel / len(kernel)))


def _effective_number(eigenvalues: np.ndarray) -> float:
    """exp of the Shannon entropy; what rounding made negative counts as zero."""
    positive = eigenvalues[eigenvalues > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))
