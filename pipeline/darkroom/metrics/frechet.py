"""The Frechet distance of two Gaussians (FID where the features are Inception's). Knows moments, not features."""

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.gaussian import Gaussian


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """|m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2)), in float64: Dowson and Landau 1982, Heusel et al. 2017.

    The last trace is taken as the sum of the singular values of A1^T A2, where C = A A^T. Eigenvalues of the product
    would have to be square-rooted, and rounding of 1e-16 in the many that are zero where images are fewer than
    dimensions would come out as 1e-8 each. Never negative; zero to rounding for equal Gaussians.
    """
    if first.mean.shape != second.mean.shape:
        found = f"{len(first.mean)} and {len(second.mean)} dimensions"
        raise DarkroomError(f"Frechet distance: Gaussians of {found}; take both from one extractor")
    shift = first.mean - second.mean
    cross = np.linalg.svd(first.factor.T @ second.factor, compute_uv=False).sum()
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    return max(0.0, float(shift @ shift + traces - 2 * cross))
