"""Seeded features to evaluate, and references to compare them with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.evaluation import measuring
from darkroom.evaluation.figures import Figure
from darkroom.evaluation.inputs import MOST_COMPARED, Logits, MetricInputs
from darkroom.evaluation.moments import FeatureMoments, Gaussian
from darkroom.runs.features import ExtractorInfo, ImageFeatures, PairedFeatures

DIMENSION = 6
CLIP = ExtractorInfo("demo_clip", "sha256:00", "bicubic 64", DIMENSION, reads_captions=True)
INCEPTION = ExtractorInfo("inception_v3", "sha256:11", "clean", DIMENSION)


@dataclass(frozen=True, eq=False)
class Known:
    """A reference, as the room of references gives one."""

    name: str
    digest: str
    ids: tuple[str, ...]
    features: np.ndarray | None
    gaussian: Gaussian
    prompts: tuple[str, ...] | None = None


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
    real: Known | Mapping[str, Known] | None,
    metrics: Sequence[str] | None,
    clip_convention: str,
    seed: int,
    logits: Logits | None = None,
    most_compared: int = MOST_COMPARED,
    prompts: Sequence[str] | None = None,
) -> dict[str, Figure]:
    """Of images that are all in memory."""
    inputs = MetricInputs(shown, real, clip_convention, seed, logits, most_compared=most_compared, prompts=prompts)
    return dict(measuring.figures_of(inputs, extractor, metrics).figures)
