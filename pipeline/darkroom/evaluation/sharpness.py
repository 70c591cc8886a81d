"""How sharp each picture is: the worked example of a scorer of one's own, used as

    darkroom evaluate run=... extractors=[darkroom.evaluation.sharpness:make]

Its figure is `sharpness.score`, with its interval, and can be compared, expected and swept for like any other.
"""

from collections.abc import Sequence

import numpy as np

from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.runs.features import ExtractorInfo

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def make(_spec: ExtractorSpec) -> "Sharpness":
    return Sharpness()


class Sharpness:
    """The variance of the brightness's Laplacian, 8-bit scale: Pech-Pacheco et al. 2000. Reads no caption."""

    info = ExtractorInfo("sharpness", weights="none", resize="none", dimension=1, is_scorer=True)

    def scores(self, pictures: Sequence[np.ndarray], _captions: Sequence[str]) -> np.ndarray:
        return np.array([_laplacian(picture @ _LUMA).var() for picture in pictures], np.float32)


def _laplacian(luma: np.ndarray) -> np.ndarray:
    """(H - 2, W - 2) of (H, W): each pixel's four neighbours less four times itself."""
    middle = luma[1:-1, 1:-1]
    return luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * middle
