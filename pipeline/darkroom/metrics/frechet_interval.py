"""A 95 % interval of a Frechet distance, without a second distance being computed. Knows features, not models."""

import numpy as np

from darkroom.metrics.bootstrap import Interval, mean_interval
from darkroom.metrics.features import checked, row_blocks
from darkroom.metrics.frechet import frechet_distance
from darkroom.metrics.gaussian import Gaussian
from darkroom.metrics.moments import FeatureMoments


def frechet_interval(features: np.ndarray, reference: Gaussian, num_resamples: int = 1000, seed: int = 0) -> Interval:
    """Where the distance of n such images to this reference would lie, drawn anew: for (n, d) features.

    Resampling images and computing the distance again is neither cheap nor honest: a resample holds about 63 % of the
    images, and the distance's bias of about c / n grows with it. So the distance is linearised: each image's
    `influence` says how it moves the distance, and the mean of influences is bootstrapped (the infinitesimal
    jackknife, Efron 1982, with percentiles). Of distances near 0 it is wider than it need be.

    It speaks of the distance at this n, bias and all, for that is what is stated and compared; it need not hold the
    distance over endlessly many images, which is what `extrapolated_fid` estimates. The reference counts as fixed.
    """
    features = checked(features)
    gaussian = FeatureMoments.of(features).gaussian()
    distance = frechet_distance(gaussian, reference)
    around = mean_interval(influence(features, gaussian, reference), num_resamples, seed)
    return Interval(distance, max(0.0, distance + around.low), max(0.0, distance + around.high))


def influence(features: np.ndarray, gaussian: Gaussian, reference: Gaussian) -> np.ndarray:
    """(n,) float64, of mean 0: the distance's derivative in each image's weight. `gaussian` is that of the features.

    With x centred it is 2 (m - m_r) . x + x^T (I - T) x less its mean, where T maps one Gaussian onto the other
    (Dowson and Landau 1982). Where C = A A^T and A^T A_r = U S V^T, x^T T x is the S-weighted square of U^T A^+ x.
    """
    factor = gaussian.factor
    left, singular, _ = np.linalg.svd(factor.T @ reference.factor, full_matrices=False)
    # The factor's columns are orthogonal, so its pseudo-inverse is its transpose over their squared lengths.
    maps = (factor / np.square(factor).sum(axis=0)) @ left * np.sqrt(singular)
    shift = 2 * (gaussian.mean - reference.mean)
    found = np.empty(len(features))
    for rows in row_blocks(*features.shape):
        centred = features[rows] - gaussian.mean
        found[rows] = centred @ shift + np.square(centred).sum(axis=1) - np.square(centred @ maps).sum(axis=1)
    return found - found.mean()
