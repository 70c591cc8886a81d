"""The renderer protocol: what a renderer is made from, what it is given, what it returns, and how one is loaded.

And the simplest renderer: without a model, for dry runs and load tests, it paints stripes and a disc from the seed.
This module needs no torch.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.identity import ModelIdentity
from darkroom.domain.progress import OFF, Profile
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import CONTROL, IMAGE, MASK, NONE, ModelRef, Value
from darkroom.domain.trajectories import TrajectoryStep
from darkroom.rendering.backends import TORCH
from darkroom.rendering.family import Family
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.loading import loads_models

_FATAL = ("CUDA error", "device-side assert", "unspecified launch failure", "illegal memory access")


@dataclass(frozen=True)
class RendererSpec:
    """What a renderer is made from: small and picklable."""

    model: InspectedModel
    device: str  # cpu, cuda or mps
    batch_size: int  # images in every call of the model
    compile: bool = False  # torch.compile: a slow first batch, faster ones after it
    backend: str = TORCH  # that computes the denoiser, torch or openvino; one everywhere, since it moves low bits
    openvino_version: str | None = None  # that the job was started with; None: any
    num_threads: int = 1  # CPU threads of a worker; one number everywhere, since another may move low bits
    may_mix: bool = True  # a batch may hold several guidance scales and LoRAs, where the model's class takes them
    seconds_per_batch: float = 0.0  # of the paint renderer: a simulated rendering time

    @property
    def offload(self) -> str:
        return str(self.model.execution.get("offload", NONE))

    @property
    def is_offloaded(self) -> bool:
        """Not on devices that have no memory of their own: a run that was made on a GPU is verified there too."""
        return self.offload != NONE and self.device == "cuda"

    @property
    def ref(self) -> ModelRef:
        """Of a renderer of one's own: the model as the user names it, with its options."""
        assert self.model.plug_in
        return self.model.plug_in.ref


@dataclass(frozen=True)
class Trajectory:
    """How an image formed."""

    pixels: np.ndarray  # (2 * height, columns * width, 3) uint8 RGB: x_t of each step above its predicted x_0
    steps: tuple[TrajectoryStep, ...]  # one a column; the last is the finished image, in both rows


@dataclass(frozen=True)
class RenderedImage:
    """The result of one request: pixels, or the reason why there are none."""

    pixels: np.ndarray | None  # (height, width, 3) uint8 RGB; of a video (num_frames, height, width, 3)
    truncated: bool = False  # the prompt was longer than the text encoder takes
    error: str | None = None
    batch_size: int | None = None  # images in the call that made it, padding included; None: `info.batch_size`
    is_filtered: bool = False  # there is none since a content policy refuses it; `error` says which
    cost: float | None = None  # what the renderer's owner takes for it
    notes: Mapping[str, Value] = field(default_factory=dict)  # what records keep of it besides
    scheduler: str | None = None  # that made it, as `schedulers.scheduler_facts` says; None: without one
    trajectory: Trajectory | None = None  # where the request asks for one


@dataclass(frozen=True)
class RendererInfo:
    """How images are executed: recorded beside them, never part of their identity."""

    device: str  # such as "cpu (AMD EPYC, 1 thread)" or "cuda (NVIDIA H200)"
    dtype: str
    batch_size: int  # images in a call of the model, padding included
    versions: dict[str, str]  # of what computes: torch, diffusers, ...; empty for a renderer without a model
    compiled: bool = False  # by torch.compile
    mixes_guidance: bool = False  # a batch may hold any guidance scales above 1, and any negative prompts
    mixes_loras: bool = False  # a batch may hold any LoRAs at any weights
    device_id: str = "cpu"  # which of the machine's devices: a GPU's UUID where it has one
    keeps_size: bool = True  # an image has the height and width that were asked for, whatever they are
    is_proved: bool = True  # what its class's arguments mean is known; else they are taken by their names
    patches: tuple[str, ...] = ()  # names of the applied patches (see patches.py), in their order
    is_seeded: bool = True  # equal seeds give equal pixels


class Renderer(Protocol):
    """One loaded model. Lives in one thread, which makes every call."""

    info: RendererInfo

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        """Render 1 to `info.batch_size` requests that share a `batch_key` of what `info` mixes; a result each, in turn.

        A request that cannot be rendered gives a result with an error; an exception means that the whole call failed.
        """
        ...


@dataclass(frozen=True)
class Compiled:
    """What torch.compile generated in one process: its cache artifacts."""

    machine: str  # digest of the kind of machine that it runs on
    data: bytes = field(repr=False)  # holds pickled objects


class FatalDeviceError(RuntimeError):
    """The device is lost to this process: it must end, and a new one take its place."""


def explained(error: BaseException) -> BaseException:
    """Turn what a call on a device raised into FatalDeviceError where its message says that the device is lost."""
    return FatalDeviceError(str(error)) if any(word in str(error) for word in _FATAL) else error


# Without a model ----------------------------------------------------------------------------------------------------

PAINT_REPO_ID = "darkroom/paint"
_REVISION = "paint-1"  # change it when the pictures change
_SIDE = 64
_PAINTED = Family(frames_unit=1, fps=8)  # images, and where a number of frames is given, videos


def paint_model() -> InspectedModel:
    """The painter as a model, for what reads models only."""
    identity = ModelIdentity(PAINT_REPO_ID, _REVISION, "float32", "Paint")
    return InspectedModel(identity, PAINT_REPO_ID, None, None, _SIDE, _SIDE, False, None, None, _PAINTED)


class PaintRenderer:
    """Pictures as a function of seed, prompt and size alone, thousands a second."""

    def __init__(self, batch_size: int, seconds_per_batch: float = 0.0) -> None:
        self.info = RendererInfo("cpu (paint)", "float32", batch_size, {})
        self._seconds_per_batch = seconds_per_batch

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        assert 1 <= len(requests) <= self.info.batch_size
        if self._seconds_per_batch:  # sleeping for zero seconds would still yield the thread
            time.sleep(self._seconds_per_batch)
        return [RenderedImage(paint_over(request) if request.pictures else paint(request)) for request in requests]


def paint_over(request: ImageRequest) -> np.ndarray:
    """(height, width, 3) uint8: the request's pictures under what is painted, alone where a mask keeps them."""
    image, mask = request.picture(IMAGE), request.picture(MASK)
    made = paint(request)
    for under in (request.picture(CONTROL), image):
        made = made if under is None else under // 2 + made // 2
    return made if mask is None else np.where(mask[..., None] > 0, made, image)


def paint(request: ImageRequest) -> np.ndarray:
    """(height, width, 3) uint8: a stripe pattern under a disc, colours and places drawn from the seed; of a video
    (num_frames, height, width, 3), in which all of it moves to the left and comes back on the right."""
    picture, num_frames = _painted(request), request.sampling.num_frames
    if num_frames is None:
        return picture
    return np.stack([np.roll(picture, -frame * picture.shape[1] // num_frames, axis=1) for frame in range(num_frames)])


def _painted(request: ImageRequest) -> np.ndarray:
    rng = np.random.default_rng([request.seed, len(request.prompt)])
    height, width = request.sampling.height, request.sampling.width
    y, x = np.arange(height)[:, None], np.arange(width)
    colours = rng.integers(0, 256, (3, 3), dtype=np.uint8)
    across, down = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    places = (x * across + y * down) // max(4, width // 8) % 2  # of the colour of every pixel
    centre_y, centre_x, radius = rng.random(3) * (height, width, min(height, width) / 2)
    places[(y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2] = 2
    return colours.take(places, axis=0)


# Loading ------------------------------------------------------------------------------------------------------------


def load_renderer(spec: RendererSpec, profile: Profile = OFF) -> Renderer:
    """Load in the calling thread, which must also make every call. Raises DarkroomError for corrupt files.

    Implementations are imported here, so that a painter needs no torch.
    """
    if spec.model.plug_in:
        from darkroom.rendering.plugins import load_plug_in

        return load_plug_in(spec)
    if spec.model.source == PAINT_REPO_ID:
        return PaintRenderer(spec.batch_size, spec.seconds_per_batch)
    return _load_diffusers(spec, profile)


@loads_models
def _load_diffusers(spec: RendererSpec, profile: Profile) -> Renderer:
    from safetensors import SafetensorError

    from darkroom.rendering.diffusion import load_diffusers

    corrupt = (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError)  # as libraries report it
    try:
        return load_diffusers(spec, profile)
    except DarkroomError:
        raise  # already one line with a remedy
    except corrupt as error:
        reason = first_line(error)
        raise DarkroomError(f"model.repo_id={spec.model.source}: cannot be loaded ({reason}); copy it anew") from error
