"""Each metric's value and, where it has them, every image's share in it. Knows formulas by name, no figure's name."""

from dataclasses import dataclass

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.sides import NEAREST_K, Sides
from darkroom.metrics.clip_score import clip_score, clip_score_of_means
from darkroom.metrics.cmmd import cmmd
from darkroom.metrics.extrapolation import extrapolated_fid
from darkroom.metrics.frechet import frechet_distance
from darkroom.metrics.frechet_interval import influence
from darkroom.metrics.inception_score import inception_score, softmax
from darkroom.metrics.influences import cmmd_influence, kid_influence, vendi_influence
from darkroom.metrics.kid import kid
from darkroom.metrics.vendi import row_lengths, vendi_score


@dataclass(frozen=True, eq=False)
class Measured:
    """A metric of one set of images.

    `shares` (n,) float64 are of mean 0: the bootstrap of their mean, put around the value, is its 95 % interval, and
    the differences of two sets' shares do the same for the difference of two values. None: the metric has no such.
    """

    value: float
    shares: np.ndarray | None = None


def frechet(sides: Sides) -> Measured:
    gaussian, reference = sides.moments.gaussian(), sides.gaussian
    shares = influence(sides.images.features, gaussian, reference)
    return Measured(frechet_distance(gaussian, reference), sides.as_of_all(shares))


def frechet_infinity(sides: Sides) -> Measured:
    images = sides.images
    return Measured(extrapolated_fid(images.features, images.image_ids, sides.gaussian, seed=sides.seed))


def kernel_distance(sides: Sides) -> Measured:
    images, reference = sides.compared, sides.reference_compared
    return Measured(kid(images, reference), kid_influence(images, reference))


def clip_discrepancy(sides: Sides) -> Measured:
    images, reference = _unit(sides.compared), _unit(sides.reference_compared)
    return Measured(cmmd(images, reference), cmmd_influence(images, reference))


def precision(sides: Sides) -> Measured:
    return _mean_of(sides.hits.num_around > 0)


def density(sides: Sides) -> Measured:
    return _mean_of(sides.hits.num_around / NEAREST_K)


def recall(sides: Sides) -> Measured:
    return Measured(float(sides.hits.recalled.mean()))


def coverage(sides: Sides) -> Measured:
    return Measured(float(sides.hits.covered.mean()))


def vendi(sides: Sides) -> Measured:
    features = sides.images.features
    return Measured(vendi_score(features), vendi_influence(features))


def caption_fit(sides: Sides) -> Measured:
    cosines = sides.images.cosines.astype(np.float64)
    if np.isnan(cosines).any():
        raise DarkroomError("needs captions, and the stored features have no cosines with them; use demo_clip or clip")
    scores = image_scores(cosines, sides.clip_convention)
    return Measured(_clip_score(cosines, sides), sides.as_of_all(scores - scores.mean()))


def mean_score(sides: Sides) -> Measured:
    """Of a scorer, whose one feature is the score."""
    scores = sides.images.features[:, 0].astype(np.float64)
    return Measured(float(sides.moments.mean[0]), sides.as_of_all(scores - scores.mean()))


def inception(sides: Sides) -> Measured:
    if sides.logits is None:
        raise DarkroomError("needs the network's class logits; load its weights")
    logits = sides.logits(sides.images.features[sides.in_random_order()])
    return Measured(inception_score(softmax(logits)).mean)


def image_scores(cosines: np.ndarray, convention: str) -> np.ndarray:
    """(n,) float64: each image's own CLIP score. Their mean is the set's, but where x100 cuts a mean below 0."""
    return 2.5 * np.maximum(cosines, 0) if convention == "hessel" else 100 * np.asarray(cosines, np.float64)


def _clip_score(cosines: np.ndarray, sides: Sides) -> float:
    if sides.totals is None:
        return clip_score(cosines, sides.clip_convention)
    means = sides.totals.cosines / sides.num_images, sides.totals.cut_cosines / sides.num_images
    return clip_score_of_means(*means, sides.clip_convention)


def _mean_of(values: np.ndarray) -> Measured:
    mean = float(values.mean())
    return Measured(mean, values - mean)


def _unit(features: np.ndarray) -> np.ndarray:
    return features / row_lengths(features)[:, None]
