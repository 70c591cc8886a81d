"""CLIP score from cosines of images and their prompts, in the conventions that papers state. Knows no CLIP."""

from collections.abc import Callable

import numpy as np

from pipeline.domain.errors import DarkroomError


def _hessel(cosines: np.ndarray) -> float:
    return float(2.5 * np.maximum(cosines, 0).mean())


def _x100(cosines: np.ndarray) -> float:
    return max(0.0, float(100 * cosines.mean()))


def _mlperf(cosines: np.ndarray) -> float:
    return float(100 * cosines.mean())


# hessel: Hessel et al. 2021, each image's cosine cut at 0 (their prompts also begin with "A photo depicts").
# x100: torchmetrics, the mean cut at 0. mlperf: MLCommons inference, text_to_image, nothing cut.
CONVENTIONS: dict[str, Callable[[np.ndarray], float]] = {"hessel": _hessel, "x100": _x100, "mlperf": _mlperf}


def clip_score(cosines: np.ndarray, convention: str) -> float:
    """Of (n,) cosines, one an image with its own prompt, by a convention's name."""
    if convention not in CONVENTIONS:
        raise DarkroomError(f"CLIP score: no convention {convention!r}; take one of {', '.join(CONVENTIONS)}")
    cosines = np.asarray(cosines, dtype=np.float64)
    if cosines.ndim != 1 or len(cosines) == 0 or not (np.abs(cosines) <= 1 + 1e-3).all():
        raise DarkroomError(f"CLIP score: shape {cosines.shape} is no list of cosines; give (n,) numbers of -1 to 1")
    return CONVENTIONS[convention](cosines)
