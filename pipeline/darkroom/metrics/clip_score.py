"""CLIP score from cosines of images and their prompts, in the conventions that papers state. Knows no CLIP."""

from collections.abc import Callable

import numpy as np

from darkroom.domain.errors import DarkroomError


def _hessel(_mean: float, mean_cut: float) -> float:
    return 2.5 * mean_cut


def _x100(mean: float, _mean_cut: float) -> float:
    return max(0.0, 100 * mean)


def _mlperf(mean: float, _mean_cut: float) -> float:
    return 100 * mean


# hessel: Hessel et al. 2021, each image's cosine cut at 0 (their prompts also begin with "A photo depicts").
# x100: torchmetrics, the mean cut at 0. mlperf: MLCommons inference, text_to_image, nothing cut.
# Each takes the mean cosine, and the mean of cosines that are cut at 0.
CONVENTIONS: dict[str, Callable[[float, float], float]] = {"hessel": _hessel, "x100": _x100, "mlperf": _mlperf}


def clip_score(cosines: np.ndarray, convention: str) -> float:
    """Of (n,) cosines, one an image with its own prompt, by a convention's name."""
    cosines = np.asarray(cosines, dtype=np.float64)
    if cosines.ndim != 1 or len(cosines) == 0 or not (np.abs(cosines) <= 1 + 1e-3).all():
        raise DarkroomError(f"CLIP score: shape {cosines.shape} is no list of cosines; give (n,) numbers of -1 to 1")
    return clip_score_of_means(float(cosines.mean()), float(np.maximum(cosines, 0).mean()), convention)


def clip_score_of_means(mean: float, mean_cut: float, convention: str) -> float:
    """Of the mean cosine and of the mean of cosines cut at 0, which is all that any convention asks for."""
    if convention not in CONVENTIONS:
        raise DarkroomError(f"CLIP score: no convention {convention!r}; take one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[convention](mean, mean_cut)
