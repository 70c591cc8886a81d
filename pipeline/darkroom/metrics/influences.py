"""How each image moves KID, CMMD and the Vendi score: what their 95 % intervals and paired differences come from.

An influence is the figure's derivative in an image's weight (Hampel 1974). It is (n,) float64 of mean 0, and the mean
of resampled influences tells how far the figure of n other such images may lie (the infinitesimal jackknife, Efron
1982). Resampling the images themselves would not: a resample repeats images, and a repeated image is a pair at distance
0 and nothing new. References count as fixed. `frechet_interval.py` has the same of the Frechet distance.
"""

import numpy as np

from darkroom.metrics.cmmd import SCALE, gaussian
from darkroom.metrics.features import checked, checked_pair, row_blocks
from darkroom.metrics.kernels import cubic, row_sums
from darkroom.metrics.vendi import row_lengths, second_moment


def kid_influence(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Of (n, d) against (m, d): twice how much nearer each image is to the others than to the reference.

    The first term of Hoeffding's decomposition (Hoeffding 1948), with other images only, as KID has it. Where both
    sets come from one source that term is 0, and chance makes the interval wider than need be.
    """
    features, reference = checked_pair(features, reference)
    itself = (np.einsum("nd,nd->n", features, features, dtype=np.float64) / features.shape[1] + 1) ** 3
    among = (row_sums(cubic, features, features) - itself) / (len(features) - 1)
    return _centred(2 * (among - row_sums(cubic, features, reference) / len(reference)))


def cmmd_influence(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Of (n, d) against (m, d), both of unit length; each image counts as its own neighbour too, as in CMMD."""
    features, reference = checked_pair(features, reference)
    among = row_sums(gaussian, features, features) / len(features)
    return _centred(2 * SCALE * (among - row_sums(gaussian, features, reference) / len(reference)))


def vendi_influence(features: np.ndarray) -> np.ndarray:
    """Of (n, d): score x (-u^T log(S) u - H), where u is of unit length, S the mean of u u^T, and H its entropy."""
    features = checked(features)
    lengths = row_lengths(features)
    values, vectors = np.linalg.eigh(second_moment(features, lengths))
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    surprises = np.empty(len(features))
    for rows in row_blocks(*features.shape):
        unit = features[rows] / lengths[rows, None]
        surprises[rows] = -np.square(unit @ vectors[:, kept]) @ np.log(values[kept])
    return float(np.exp(surprises.mean())) * _centred(surprises)


def _centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean()
