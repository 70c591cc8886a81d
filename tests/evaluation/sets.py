"""Seeded features to evaluate, and references to compare them with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.evaluation import figures
from darkroom.evaluation.sides import Logits, Sides
from darkroom.features.extractor import ExtractorInfo
from darkroom.metrics.gaussian import Gaussian
from darkroom.metrics.moments import FeatureMoments
from darkroom.runs.evaluations import CellFigure
from darkroom.runs.features import ImageFeatures, PairedFeatures

DIMENSION = 6
CLIP = ExtractorInfo("demo_clip", "sha256:00", "bicubic 64", DIMENSION)
INCEPTION = ExtractorInfo("inception_v3", "sha256:11", "clean", DIMENSION)


@dataclass(frozen=True, eq=False)
class Known:
    """A reference, as the room of references gives one."""

    name: str
    digest: str
    ids: tuple[str, ...]
    features: np.ndarray | None
    gaussian: Gaussian


def images(count: int, seed: int = 0, shift: float = 0.0, named: str = "image") -> ImageFeatures:
    rng = np.random.default_rng(seed)
    return ImageFeatures(
        tuple(f"{named}{number}" for number in range(count)),
        rng.normal(shift, 1, (count, DIMENSION)).astype(np.float32),
        rng.uniform(-0.1, 0.5, count).astype(np.float32),
        np.zeros(count, bool),
    )


def reference(count: int, seed: int = 100) -> Known:
    found = images(count, seed, named="real")
    return Known("real", "d" * 64, found.image_ids, found.features, FeatureMoments.of(found.features).gaussian())


def statistics() -> Known:
    return Known("stats.npz", "e" * 64, (), None, Gaussian(np.zeros(DIMENSION), np.eye(DIMENSION), None))


def cell(count: int, seed: int = 0, shift: float = 0.0, first: int = 0) -> PairedFeatures:
    """Of prompts p<first> and on, two images each."""
    pairs = tuple((f"p{first + number // 2}", number % 2) for number in range(count))
    return PairedFeatures(pairs, images(count, seed, shift, f"s{seed}-"))


def figures_of(
    shown: ImageFeatures,
    extractor: ExtractorInfo,
    real: Known | None,
    metrics: Sequence[str] | None,
    clip_convention: str,
    seed: int,
    logits: Logits | None = None,
) -> dict[str, CellFigure]:
    """Of images that are all in memory."""
    sides = Sides(shown, real, clip_convention, seed, logits)
    return {name: one.figure for name, one in figures.figures_of(sides, extractor, metrics).items()}
