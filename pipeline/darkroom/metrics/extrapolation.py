"""FID as it would be over endlessly many images. Knows the Frechet distance, not where features come from."""

from collections.abc import Sequence

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.features import checked
from darkroom.metrics.frechet import frechet_distance
from darkroom.metrics.gaussian import Gaussian
from darkroom.metrics.moments import FeatureMoments
from darkroom.metrics.subsets import sample_keys, subset

_SMALLEST = 5000  # of the subsets, or a tenth of the images where that is less


def extrapolated_fid(
    features: np.ndarray, ids: Sequence[str], reference: Gaussian, num_points: int = 15, seed: int = 0
) -> float:
    """FID-infinity of (n, d) features: FID is biased by about c / N, so fit FID over 1 / N by a line and read it at 0.

    Chong and Forsyth 2020, with the sizes of dgm-eval (Stein et al. 2023): `num_points` sizes evenly from 5,000 (or a
    tenth of the images) to all. Each size has its own subset, decided by `ids` and `seed` and never by order. The bias
    that comes from the reference's own size stays. May fall below 0 by chance where the distance is about 0.
    """
    features = checked(features)
    sizes = _sizes(len(features), num_points)
    keys = sample_keys(ids, len(features), seed, "extrapolated fid")
    distances = [
        frechet_distance(FeatureMoments.of(features[subset(keys, draw, size)]).gaussian(), reference)
        for draw, size in enumerate(sizes)
    ]
    slope_and_intercept = np.polyfit(1 / sizes, distances, deg=1)
    return float(slope_and_intercept[1])


def _sizes(num_images: int, num_points: int) -> np.ndarray:
    sizes = np.linspace(min(_SMALLEST, max(num_images // 10, 2)), num_images, num_points).astype(int)
    if len(np.unique(sizes)) < 2:
        found = f"{num_images} images at {num_points} points"
        raise DarkroomError(f"extrapolated FID: {found} give no line; give at least 2 points and hundreds of images")
    return sizes
