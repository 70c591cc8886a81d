"""A renderer without a model, for dry runs and load tests: paints stripes and a disc from the seed. Needs no torch."""

import time
from collections.abc import Sequence

import numpy as np

from darkroom.domain.identity import ModelIdentity
from darkroom.domain.requests import ImageRequest
from darkroom.rendering.inspection import InspectedModel
from darkroom.rendering.renderer import RenderedImage, RendererInfo

PAINT_REPO_ID = "darkroom/paint"
_REVISION = "paint-1"  # change it when the pictures change
_SIDE = 64
PAINT_DEFAULTS = {"guidance_scale": 1.0, "num_inference_steps": 1, "height": _SIDE, "width": _SIDE}


def paint_model() -> InspectedModel:
    """The painter as a model, for what reads models only."""
    identity = ModelIdentity(PAINT_REPO_ID, _REVISION, "float32", "Paint")
    return InspectedModel(identity, PAINT_REPO_ID, None, None, _SIDE, _SIDE, False, None, None)


class PaintRenderer:
    """Pictures as a function of seed, prompt and size alone, thousands a second."""

    def __init__(self, batch_size: int, seconds_per_batch: float = 0.0) -> None:
        self.info = RendererInfo("cpu (paint)", "float32", batch_size, {})
        self._seconds_per_batch = seconds_per_batch

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        assert 1 <= len(requests) <= self.info.batch_size
        if self._seconds_per_batch:  # sleeping for zero seconds would still yield the thread
            time.sleep(self._seconds_per_batch)
        return [RenderedImage(paint(request)) for request in requests]


def paint(request: ImageRequest) -> np.ndarray:
    """(height, width, 3) uint8: a stripe pattern under a disc, colours and places drawn from the seed."""
    rng = np.random.default_rng([request.seed, len(request.prompt)])
    height, width = request.sampling.height, request.sampling.width
    y, x = np.arange(height)[:, None], np.arange(width)
    colours = rng.integers(0, 256, (3, 3), dtype=np.uint8)
    across, down = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    places = (x * across + y * down) // max(4, width // 8) % 2  # of the colour of every pixel
    centre_y, centre_x, radius = rng.random(3) * (height, width, min(height, width) / 2)
    places[(y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2] = 2
    return colours.take(places, axis=0)
