"""The device's thread: it loads models and makes every call of them, since CUDA graphs belong to a thread."""

import gc
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, ParamSpec, TypeVar

from darkroom.domain.errors import DarkroomError, EndsRun
from darkroom.domain.identity import ModelIdentity
from darkroom.domain.progress import OFF, Profile
from darkroom.domain.records import Sample
from darkroom.rendering.renderer import Compiled, FatalDeviceError, RenderedImage, Renderer, RendererInfo

Load = Callable[[ModelIdentity], Renderer]
Key = TypeVar("Key")
P = ParamSpec("P")
T = TypeVar("T")


class Stopped(Exception):
    """The worker was asked to stop between two batches."""


def batches(samples: Iterable[Sample], info: RendererInfo) -> Iterator[Sequence[Sample]]:
    """Batches of samples that this renderer takes together, those of one `batch_key`, in order of its first
    appearance."""
    groups: dict[object, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.request.batch_key(info.mixes_guidance, info.mixes_loras), []).append(sample)
    for group in groups.values():
        for start in range(0, len(group), info.batch_size):
            yield group[start : start + info.batch_size]


class LoadedModel(Generic[Key]):
    """One model at a time: loaded when it is first needed, let go when another one is.

    Belongs to the device's thread. A sweep over models goes model by model, so each is loaded once a worker.
    """

    def __init__(self, load: Callable[[Key], Renderer]) -> None:
        self._load = load
        self._key: Key | None = None
        self._renderer: Renderer | None = None
        self.num_loads = 0

    def get(self, key: Key) -> Renderer:
        """What `load` makes of the key."""
        if self._renderer is None or key != self._key:
            self._renderer = None
            gc.collect()  # it refers to itself, and the next one needs its memory
            self._renderer = self._load(key)
            self._key = key
            self.num_loads += 1
        return self._renderer


class Device:
    """A thread of its own, which holds one model and renders batches with it."""

    def __init__(self, load: Load, batch_timeout_s: float | None = None, profile: Profile = OFF) -> None:
        """`batch_timeout_s`: how long one call of a model may take."""
        self._thread = ThreadPoolExecutor(1, "device")
        self._model = LoadedModel(load)
        self._batch_timeout_s = batch_timeout_s
        self._profile = profile
        self._stop = threading.Event()

    @property
    def num_loads(self) -> int:
        return self._model.num_loads

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Anything else that has to run where models do, such as feature extractors."""
        return self._thread.submit(call, *args, **kwargs)

    def model(self, identity: ModelIdentity) -> Renderer:
        """Loaded by now; only its `info` may be read outside of the device's thread."""
        return self._thread.submit(self._model.get, identity).result()

    def render(self, renderer: Renderer, batch: Sequence[Sample], ready_s: float) -> list[RenderedImage]:
        """One image a sample, in order; `ready_s`: when the batch was ready, in Unix time.

        If the call as a whole fails, each sample is rendered alone, so that one bad prompt costs one row. Raises
        Stopped between two calls, and FatalDeviceError where the device is lost.
        """
        self.check_not_stopped()
        try:
            return self._call(renderer, batch, ready_s)
        except (FatalDeviceError, EndsRun):
            raise
        except Exception as error:
            self.check_not_stopped(error)
            if len(batch) == 1:
                return [RenderedImage(None, error=_reason(error))]
            return [image for sample in batch for image in self.render(renderer, [sample], ready_s=time.time())]

    def check_not_stopped(self, cause: Exception | None = None) -> None:
        if self._stop.is_set():
            raise Stopped from cause

    def close(self) -> None:
        """Make every call that is under way end before its next batch."""
        self._stop.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _call(self, renderer: Renderer, batch: Sequence[Sample], ready_s: float) -> list[RenderedImage]:
        """A call that does not come back takes the device with it, since it cannot be ended."""
        called = self._thread.submit(self._on_thread, renderer, batch, ready_s)
        try:
            return called.result(self._batch_timeout_s)  # raises where `close` cancels the call; `wait` would not end
        except TimeoutError:
            if called.done():  # the renderer's own
                raise
            limit = f"engine.batch_timeout_s={self._batch_timeout_s:g}"
            raise FatalDeviceError(f"a batch did not end within {limit}") from None

    def _on_thread(self, renderer: Renderer, batch: Sequence[Sample], ready_s: float) -> list[RenderedImage]:
        with self._profile.span("render", ready_s):
            return renderer.render([sample.request for sample in batch])


def _reason(error: Exception) -> str:
    """Our own errors say all that there is to say."""
    return str(error) if isinstance(error, DarkroomError) else f"{type(error).__name__}: {error}"


class CompileArtifacts:
    """What torch.compile made in earlier runs, for this process, and what this process compiled anew, for later ones.

    `new` runs on the device's thread. Nothing here may fail: at worst something is compiled that need not be.
    """

    def __init__(self, device: str, earlier: Sequence[Compiled]) -> None:
        from darkroom.rendering.patches import machine_kind, num_compiled, use_compiled

        self._device = device
        fitting = [each for each in earlier if each.machine == machine_kind(device)]
        for each in fitting:
            with suppress(Exception):
                use_compiled(each.data)
        self._is_reported = bool(fitting)
        self._num_reported = num_compiled()

    def new(self) -> Compiled | None:
        """All that this process compiled; None where nothing was added since the last report."""
        from darkroom.rendering.patches import compiled, num_compiled

        if self._is_reported and num_compiled() == self._num_reported:
            return None
        self._is_reported, self._num_reported = True, num_compiled()
        with suppress(Exception):
            return compiled(self._device)
        return None
