"""Count, mean and scatter of features, which add up: shards are measured apart and merged in any order.

Knows no metric; `frechet.py` takes the Gaussian that comes out.
"""

from dataclasses import dataclass

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.features import checked, row_blocks
from darkroom.metrics.gaussian import Gaussian


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
