"""Make images with a renderer that Darkroom does not know: a module with a function that makes one.

python infra/examples/renderer_of_ones_own.py [folder]
"""

import sys
from collections.abc import Sequence

import numpy as np

import darkroom
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ModelRef
from darkroom.rendering.description import Description, described_by
from darkroom.rendering.renderer import RenderedImage, RendererInfo, RendererSpec


def about(ref: ModelRef) -> Description:
    """Read before anything is made: which settings it takes, and what they are where nobody says it."""
    usual = {"height": 64, "width": 64, "guidance_scale": 5.0}
    return Description("gradient", takes=tuple(usual), defaults=usual)


class Gradient:
    """A soft gradient between two colours of the seed; guidance is its contrast."""

    def __init__(self, spec: RendererSpec) -> None:
        self.info = RendererInfo("cpu (gradient)", "float32", spec.batch_size, {"numpy": np.__version__})

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        return [RenderedImage(_gradient(request)) for request in requests]


def _gradient(request: ImageRequest) -> np.ndarray:
    """(height, width, 3) uint8."""
    sampling = request.sampling
    first, second = np.random.default_rng(request.seed).uniform(0, 255, (2, 1, 1, 3))
    share = np.linspace(0, 1, sampling.width)[None, :, None] * np.ones((sampling.height, 1, 1))
    contrast = min(sampling.guidance_scale, 10) / 10
    return (127 + contrast * (first * (1 - share) + second * share - 127)).astype(np.uint8)


@described_by(about)
def make(spec: RendererSpec) -> Gradient:
    return Gradient(spec)


if __name__ == "__main__":
    out = sys.argv[1] if len(sys.argv) > 1 else "runs/examples/renderer"
    # The module's name, where Python finds it: here beside this script, on workers wherever it is installed.
    run = darkroom.generate(["dawn", "dusk"], model="renderer_of_ones_own:make", out=out, guidance_scale=8)
    print(run.records[["prompt", "model", "guidance_scale", "is_seeded", "status"]].to_string())
