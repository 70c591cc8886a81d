"""Renderers of one's own: one that paints, and some that are wrong in one way each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ModelRef, setting
from darkroom.rendering.description import Description, described_by, options_of
from darkroom.rendering.renderer import RenderedImage, RendererInfo, RendererSpec, paint


@dataclass(frozen=True)
class Options:
    shade: int = setting(0, low=0, high=255, help="Added to every value.")
    place: str | None = setting(None, is_place=True, help="Where it lies.")
    speed: float = setting(1.0, of_image=False, low=0, high=10, help="Changes no pixel.")


def describe(ref: ModelRef) -> Description:
    return Description(
        ref.repo_id or "painter",
        takes=("height", "width", "guidance_scale", "revision"),
        defaults={"height": 16, "width": 16, "guidance_scale": 5.0},
        sizes=((16, 16), (16, 24)),
    )


class Painter:
    def __init__(self, spec: RendererSpec) -> None:
        self.info = RendererInfo("cpu (painter)", "float32", spec.batch_size, {})
        self._shade = options_of(spec.ref, Options).shade

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        return [self._image(request) for request in requests]

    def _image(self, request: ImageRequest) -> RenderedImage:
        if "impossible" in request.prompt:
            raise ValueError("no picture of this\nand more")
        if "shameful" in request.prompt:
            return RenderedImage(None, error="refused: shameful", is_filtered=True)
        pixels = (paint(request) // 2 + self._shade // 2 + np.uint8(request.sampling.guidance_scale)).astype(np.uint8)
        return RenderedImage(pixels, cost=0.5, notes={"hand": "left"})


@described_by(describe, Options)
def make(spec: RendererSpec) -> Painter:
    return Painter(spec)


@described_by(lambda ref: replace(describe(ref), is_seeded=False, is_tried=False), Options)
def make_unseeded(spec: RendererSpec) -> Painter:
    return Painter(spec)


# Wrong ones ----------------------------------------------------------------------------------------------------------

number = 3


def undescribed(spec: RendererSpec) -> Painter:
    return Painter(spec)


def _described_as(found: Any) -> Callable[[RendererSpec], Any]:
    return described_by(lambda _: found)(lambda spec: Painter(spec))


@described_by(lambda _: 1 / 0)
def raising_description(spec: RendererSpec) -> Painter:
    return Painter(spec)


described_by_text = _described_as("a painter")
nameless = _described_as(Description("", defaults={"height": 16, "width": 16}))
takes_nonsense = _described_as(Description("wrong", takes=("hight",)))
without_size = _described_as(Description("wrong", takes=()))
with_odd_default = _described_as(Description("wrong", defaults={"height": 15, "width": 16}))


@described_by(lambda _: Description("wrong", defaults={"height": 16, "width": 16}))
def raising(spec: RendererSpec) -> Painter:
    raise RuntimeError("no brush")


@described_by(lambda _: Description("wrong", defaults={"height": 16, "width": 16}))
def makes_text(spec: RendererSpec) -> str:
    return "a painter"


def _returning(made: Callable[[ImageRequest], Any]) -> Callable[[RendererSpec], Any]:
    """A renderer whose render returns this of each request."""

    class Wrong:
        def __init__(self, spec: RendererSpec) -> None:
            self.info = RendererInfo("cpu", "float32", spec.batch_size, {})

        def render(self, requests: Sequence[ImageRequest]) -> Any:
            found = [made(request) for request in requests]
            return found if found[0] is not None else tuple(found)

    about = Description("wrong", defaults={"height": 16, "width": 16})
    return described_by(lambda _: about)(Wrong)


returns_tuple = _returning(lambda _: None)
returns_arrays = _returning(paint)
returns_floats = _returning(lambda request: RenderedImage(paint(request) / 255))
returns_gray = _returning(lambda request: RenderedImage(paint(request)[..., 0]))
returns_other_size = _returning(lambda request: RenderedImage(paint(request)[:8]))
