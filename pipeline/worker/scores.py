"""Pictures with their prompts to features, by several extractors at once. Knows neither runs nor stores."""

from collections.abc import Sequence

import numpy as np

from pipeline.features.extractor import CaptionScorer, Extractor, ImageScorer
from pipeline.runs.features import ImageFeatures


def scored(
    extractors: Sequence[Extractor], image_ids: Sequence[str], pictures: Sequence[np.ndarray], prompts: Sequence[str]
) -> list[ImageFeatures]:
    """For each extractor the features of N pictures, (H, W, 3) uint8 each, and how well each fits its prompt."""
    return [_by_one(extractor, tuple(image_ids), pictures, prompts) for extractor in extractors]


def _by_one(
    extractor: Extractor, image_ids: tuple[str, ...], pictures: Sequence[np.ndarray], prompts: Sequence[str]
) -> ImageFeatures:
    if isinstance(extractor, ImageScorer):
        scores = np.asarray(extractor.scores(pictures, prompts), np.float32).reshape(len(pictures), 1)
        return _without_captions(image_ids, scores)
    features = extractor.features(pictures)
    if not isinstance(extractor, CaptionScorer):
        return _without_captions(image_ids, features)
    distinct = list(dict.fromkeys(prompts))  # cells and samples share prompts
    rows = [distinct.index(prompt) for prompt in prompts]
    cosines = _cosines(features, extractor.caption_features(distinct)[rows])
    return ImageFeatures(image_ids, features, cosines, np.asarray(extractor.truncated(distinct), bool)[rows])


def _without_captions(image_ids: tuple[str, ...], features: np.ndarray) -> ImageFeatures:
    unknown = np.full(len(image_ids), np.nan, np.float32)
    return ImageFeatures(image_ids, features, unknown, np.zeros(len(image_ids), bool))


def _cosines(features: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """(N,) float32 in [-1, 1]; `captions` are of unit length."""
    lengths = np.linalg.norm(features.astype(np.float64), axis=1)
    products = np.einsum("nd,nd->n", features, captions, dtype=np.float64)
    return np.clip(products / np.maximum(lengths, 1e-12), -1, 1).astype(np.float32)
