"""The renderer protocol: requests in, pixels out. Knows no model, no file format and no store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from darkroom.domain.requests import ImageRequest


@dataclass(frozen=True)
class RenderedImage:
    """What became of one request: pixels, or the reason why there are none."""

    pixels: np.ndarray | None  # (height, width, 3) uint8 RGB
    truncated: bool = False  # the prompt was longer than the text encoder takes
    error: str | None = None
    batch_size: int | None = None  # images in the call that made it, padding included; None: `info.batch_size`


@dataclass(frozen=True)
class RendererInfo:
    """How images are executed: recorded beside them, never part of their identity."""

    device: str  # such as "cpu (AMD EPYC, 1 thread)" or "cuda (NVIDIA H200)"
    dtype: str
    batch_size: int  # images in a call of the model, padding included
    versions: dict[str, str]  # of torch, diffusers, ...; empty for a renderer without a model
    compiled: bool = False  # by torch.compile
    mixes_guidance: bool = False  # a batch may hold any guidance scales above 1, and any negative prompts
    device_id: str = "cpu"  # which of the machine's devices: a GPU's UUID where it has one
    keeps_size: bool = True  # an image has the height and width that were asked for, whatever they are


class Renderer(Protocol):
    """One loaded model. Lives in one thread, which makes every call."""

    info: RendererInfo

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        """Render 1 to `info.batch_size` requests with one `batch_key(info.mixes_guidance)`; one result each, in order.

        A request that cannot be rendered gives a result with an error; an exception means that the whole call failed.
        """
        ...


class FatalDeviceError(RuntimeError):
    """The device is lost to this process: it must end, and a new one take its place."""


_FATAL = ("CUDA error", "device-side assert", "unspecified launch failure", "illegal memory access")


def explained(error: BaseException) -> BaseException:
    """What a call on a device raised, as FatalDeviceError where its words say that the device is lost."""
    return FatalDeviceError(str(error)) if any(word in str(error) for word in _FATAL) else error
