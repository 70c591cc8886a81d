"""Starts what `EngineOptions` ask for, and runs tasks on it. Twice at once in one process, Ray is shared.

A Ray that the caller has joined is used and left running; one that was started here is stopped by the last who uses it.
"""

import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from darkroom.api.events import Progress, Progressed, StageStarted
from darkroom.api.options import EngineOptions
from darkroom.domain.errors import DarkroomError
from darkroom.domain.process import import_whole, num_cores
from darkroom.engine.dispatcher import Dispatcher
from darkroom.engine.meter import Meter
from darkroom.engine.tasks import Event, ShardDone, Summary, TaskRunner, WorkerReady
from darkroom.rendering.backends import OPENVINO, backend_of, openvino_version
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.renderer import RendererSpec
from darkroom.runs.drivers import Spent

if TYPE_CHECKING:
    from darkroom.engine.capacity import WorkerResources

_KEY = "engine.device"


@dataclass(frozen=True)
class Engine:
    """A started engine: which device its workers use, and how many there will be."""

    options: EngineOptions
    device: str  # cpu, cuda or mps
    num_workers: int

    def dispatcher(self, spec: Callable[[], TaskRunner]) -> Dispatcher:
        """`spec` makes a worker in the process that will use it; it travels there, so it pickles."""
        if self.options.kind == "local":
            from darkroom.engine.dispatcher import LocalDispatcher

            return LocalDispatcher(spec, self.options.max_attempts)
        from darkroom.engine.ray_dispatcher import RayDispatcher

        grows = self.options.num_workers is None and self.device != "mps"
        resources = worker_resources(self.options, self.device)
        return RayDispatcher(spec, None if grows else self.num_workers, self.options.max_attempts, resources)

    @property
    def for_reading(self) -> "Engine":
        """Whose workers need no device: they may be anywhere, and are not those that a price was given for."""
        options = replace(self.options, device="cpu", num_gpus=None, accelerator_type=None, price_per_hour=None)
        return replace(self, options=options, device="cpu")

    def with_batch_size(self, number: int) -> "Engine":
        return replace(self, options=replace(self.options, batch_size=number))

    def with_compile(self, is_on: bool) -> "Engine":
        return replace(self, options=replace(self.options, compile=is_on))


def renderer_spec(model: InspectedModel, device: str, batch_size: int, options: EngineOptions) -> RendererSpec:
    """As the options ask for it. Raises DarkroomError where their backend cannot compute the model."""
    is_compiled = options.compile is True
    backend = backend_of(options.backend, model, device, is_compiled)
    needed = openvino_version() if backend == OPENVINO else None
    return RendererSpec(model, device, batch_size, is_compiled, backend, needed)


@contextmanager
def started(options: EngineOptions) -> Iterator[Engine]:
    """The engine, stopped at the end whatever happens."""
    if options.kind == "local":
        yield Engine(options, local_device(options.device, _KEY), 1)
        return
    likely_device(options)
    import_whole("darkroom.engine.ray_dispatcher")
    with _RAY.joined(options):
        from darkroom.engine import cluster

        takes_gpus = options.num_gpus or options.accelerator_type or cluster.num_gpus()
        device = ("cuda" if takes_gpus else "cpu") if options.device == "auto" else options.device
        yield Engine(options, device, options.num_workers or _num_with_room(options, device))


def worker_resources(options: EngineOptions, device: str) -> "WorkerResources":
    """What each worker takes of the cluster that was joined."""
    from darkroom.engine.capacity import WorkerResources

    num_gpus = (1 if device == "cuda" else 0) if options.num_gpus is None else options.num_gpus
    resources = {name: float(amount) for name, amount in (options.resources or {}).items()}
    return WorkerResources(num_gpus, resources, options.accelerator_type)


def _num_with_room(options: EngineOptions, device: str) -> int:
    """Workers that the cluster has room for. Raises DarkroomError where that is none."""
    from darkroom.engine.capacity import num_with_room

    if device == "mps":
        return 1  # a Mac has one such device, for all its cores
    resources = worker_resources(options, device)
    if number := num_with_room(resources):
        return number
    raise DarkroomError(
        f"engine.device={device}: no node of the cluster has room for a worker, which takes {resources}; add one, ask "
        "for less, or give engine.num_workers to wait for nodes that the cluster starts on demand"
    )


class _SharedRay:
    """The one Ray of this process: counts who uses it, and stops it after the last, if it was started here."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """As at the start, and in a process that was forked off: its threads are none of those that used it."""
        self._lock = threading.Lock()
        self._num_users = 0
        self._is_started_here = False

    @contextmanager
    def joined(self, options: EngineOptions) -> Iterator[None]:
        from darkroom.engine import cluster

        with self._lock:
            is_there = sys.modules["ray"].is_initialized()
            cluster.start(options.cluster_address, options.num_workers)
            self._is_started_here = not is_there or (self._is_started_here and self._num_users > 0)
            self._num_users += 1
        try:
            yield
        finally:
            with self._lock:
                self._num_users -= 1
                if self._num_users == 0 and self._is_started_here:
                    cluster.stop()


_RAY = _SharedRay()
os.register_at_fork(after_in_child=_RAY.forget)


# Devices -----------------------------------------------------------------------------------------------------------


def local_device(device: str, key: str = "device") -> str:
    """The device of this machine that is meant. Raises DarkroomError where it has no such."""
    available = _devices()
    if device == "auto":
        return available[0]
    if device not in available:
        raise DarkroomError(
            f"{key}={device}: this machine has no {device} device that torch can use; choices are "
            f"{', '.join(['auto', *available])}"
        )
    return device


def driver_device(options: EngineOptions) -> str:
    """What this process measures on: as the workers do, where this machine has such a device too."""
    device = likely_device(options)
    return device if device in _devices() else local_device("auto")


def likely_device(options: EngineOptions) -> str:
    """What the workers will probably use, without starting anything; a cluster may have what this machine has not.

    Raises DarkroomError where this machine alone is asked, and has no such device.
    """
    if options.cluster_address and options.device != "auto":
        return options.device
    return local_device(options.device, _KEY)


def num_workers_here(options: EngineOptions, device: str) -> int:
    """Workers that share this machine's device: a GPU has one, and a CPU's cores one each where nothing is said."""
    if options.kind == "local" or device == "cuda":
        return 1
    return options.num_workers or (1 if options.cluster_address or device != "cpu" else num_cores())


def device_model(device: str) -> str:
    """Its kind and, where it is of this machine, its model."""
    import torch

    is_here = device == "cuda" and torch.cuda.is_available()
    return f"{device} {torch.cuda.get_device_name() if is_here else platform.machine()}"


def _devices() -> list[str]:
    """This machine's, the fastest first."""
    import_whole("torch")
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, is_there in there.items() if is_there]


# What it tells ------------------------------------------------------------------------------------------------------


class Counting:
    """Adds up what a dispatcher says, and hands it on with how far the stage is."""

    def __init__(self, progress: Progress, stage: str, num_images: int, price_per_hour: float | None = None) -> None:
        self.meter = Meter(num_images, stage, price_per_hour)
        self._progress = progress
        self._started = time.monotonic()
        self._is_ready = False
        progress(StageStarted(self.meter))

    def __call__(self, event: Event) -> None:
        self.meter.add(event)
        if isinstance(event, WorkerReady) and not self._is_ready:
            self._is_ready, self._started = True, time.monotonic()
        self._progress(event)
        if isinstance(event, ShardDone):
            state = self.meter.state()
            self._progress(Progressed(state.stage, state.num_done, state.num_images, state.num_failed))

    @property
    def summary(self) -> Summary:
        return self.meter.summary

    @property
    def spent(self) -> Spent | None:
        """On workers, so far; None where no price was given."""
        state = self.meter.state()
        return None if state.cost is None else Spent(state.worker_s, state.cost)

    @property
    def elapsed_s(self) -> float:
        """Since the first worker was ready: images a second are of the workers, loading apart."""
        return time.monotonic() - self._started
