"""The extractor without weights: a picture's own colours, averaged over an 8x8 grid. For tests and for a first look."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from darkroom.domain.errors import DarkroomError
from darkroom.features.extractor import ExtractorSpec
from darkroom.features.preprocessing import channelwise
from darkroom.runs.features import ExtractorInfo

_SIDE = 8


def inspect_pixels(spec: ExtractorSpec) -> ExtractorInfo:
    for field in ("source", "resize"):
        if getattr(spec, field) is not None:
            raise DarkroomError(f"extractor pixels: {field}={getattr(spec, field)} means nothing to it; leave it out")
    return ExtractorInfo("pixels", "none", f"area {_SIDE}x{_SIDE}", 3 * _SIDE * _SIDE)


class PixelExtractor:
    """Area means in [0, 1], channel by channel."""

    def __init__(self, spec: ExtractorSpec) -> None:
        self.info = inspect_pixels(spec)

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        rows = [channelwise(picture, (_SIDE, _SIDE), Image.Resampling.BOX).ravel() / 255 for picture in pictures]
        return np.stack(rows) if rows else np.empty((0, self.info.dimension), np.float32)
