"""Pictures with their prompts to features, by several extractors at once. Knows neither runs nor stores.

A picture that an extractor fails on costs that picture's features alone: its row is NaN, with the reason beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.features.extractor import CaptionExtractor, Extractor, ImageScorer
from darkroom.rendering.renderer import FatalDeviceError, explained
from darkroom.runs.features import ImageFeatures, ScoredFiles, joined_files

_MAX_ERROR_CHARS = 300


@dataclass(frozen=True, eq=False)
class Picture:
    """One image to score."""

    image_id: str
    prompt: str
    pixels: np.ndarray  # (H, W, 3) uint8 RGB of its file
    sha256: str = ""  # of its file, where that is known already


def scored(extractors: Sequence[Extractor], pictures: Sequence[Picture]) -> list[ScoredFiles]:
    """For each extractor the features of N pictures, and how well each fits its prompt."""
    return [scored_by(extractor, pictures) for extractor in extractors]


def scored_by(extractor: Extractor, pictures: Sequence[Picture]) -> ScoredFiles:
    """All at once; each alone where that fails, so that only those without features are the ones that fail alone."""
    if not pictures:
        none = np.empty((0, extractor.info.dimension), np.float32)
        return ScoredFiles(_without_captions((), none), (), ())
    try:
        images = _checked(_by_one(extractor, pictures), extractor)
    except (Exception, SystemExit) as error:  # a plug-in may well call sys.exit
        if _is_the_devices(error):
            raise explained(error) from error
        if len(pictures) > 1:
            return joined_files([scored_by(extractor, [picture]) for picture in pictures])
        reason = f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARS]
        return unscored(extractor, pictures[0].image_id, pictures[0].sha256, reason)
    digests = tuple(picture.sha256 for picture in pictures)
    return ScoredFiles(images, digests, tuple(_finite_fault(row) for row in images.features))


def unscored(extractor: Extractor, image_id: str, sha256: str, reason: str) -> ScoredFiles:
    """One image without features."""
    features = np.full((1, extractor.info.dimension), np.nan, np.float32)
    return ScoredFiles(_without_captions((image_id,), features), (sha256,), (reason,))


def _is_the_devices(error: BaseException) -> bool:
    """The fault is not the picture's: another worker, or the same one later, may well score it."""
    is_lost = isinstance(explained(error), FatalDeviceError)
    return is_lost or isinstance(error, MemoryError) or "out of memory" in str(error)


def _by_one(extractor: Extractor, pictures: Sequence[Picture]) -> ImageFeatures:
    image_ids = tuple(picture.image_id for picture in pictures)
    pixels, prompts = [picture.pixels for picture in pictures], [picture.prompt for picture in pictures]
    if isinstance(extractor, ImageScorer):
        scores = np.asarray(extractor.scores(pixels, prompts), np.float32).reshape(len(pictures), 1)
        return _without_captions(image_ids, scores)
    features = extractor.features(pixels)
    if not isinstance(extractor, CaptionExtractor):
        return _without_captions(image_ids, features)
    distinct = list(dict.fromkeys(prompts))  # cells and samples share prompts
    rows = [distinct.index(prompt) for prompt in prompts]
    cosines = _cosines(features, extractor.caption_features(distinct)[rows])
    return ImageFeatures(image_ids, features, cosines, np.asarray(extractor.truncated(distinct), bool)[rows])


def _checked(images: ImageFeatures, extractor: Extractor) -> ImageFeatures:
    expected = (len(images.image_ids), extractor.info.dimension)
    if images.features.shape != expected:
        raise ValueError(f"{extractor.info.name} gave features of shape {images.features.shape}, not {expected}")
    return images


def _finite_fault(row: np.ndarray) -> str:
    return "" if np.isfinite(row).all() else "its features are not finite numbers"


def _without_captions(image_ids: tuple[str, ...], features: np.ndarray) -> ImageFeatures:
    unknown = np.full(len(image_ids), np.nan, np.float32)
    return ImageFeatures(image_ids, features, unknown, np.zeros(len(image_ids), bool))


def _cosines(features: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """(N,) float32 in [-1, 1]; `captions` are of unit length."""
    lengths = np.linalg.norm(features.astype(np.float64), axis=1)
    products = np.einsum("nd,nd->n", features, captions, dtype=np.float64)
    return np.clip(products / np.maximum(lengths, 1e-12), -1, 1).astype(np.float32)
