"""Starts what an `engine` configuration asks for, and runs tasks on it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from omegaconf import DictConfig

from darkroom.conf.schema import Device, EngineKind
from darkroom.domain.errors import DarkroomError
from darkroom.engine.events import Dispatcher
from darkroom.engine.tasks import TaskRunner

_KEY = "engine.device"


@dataclass(frozen=True)
class Engine:
    """A started engine: which device its workers use, and how many there will be."""

    config: DictConfig
    device: str  # cpu, cuda or mps
    num_workers: int

    def dispatcher(self, spec: Callable[[], TaskRunner]) -> Dispatcher:
        """`spec` makes a worker in the process that will use it; it travels there, so it pickles."""
        if self.config.kind is EngineKind.local:
            from darkroom.engine.local_dispatcher import LocalDispatcher

            return LocalDispatcher(spec, self.config.max_attempts)
        from darkroom.engine.ray_dispatcher import RayDispatcher

        num_gpus = 1 if self.device == "cuda" else 0
        return RayDispatcher(spec, self.num_workers, num_gpus, self.config.max_attempts)


@contextmanager
def started(config: DictConfig) -> Iterator[Engine]:
    """The engine, stopped at the end whatever happens."""
    if config.kind is EngineKind.local:
        yield Engine(config, local_device(config.device, _KEY), 1)
        return
    likely_device(config)
    from darkroom.engine import cluster

    cluster.start(config.address, config.num_workers)
    try:
        num_gpus, num_cpus = cluster.num_devices()
        device = ("cuda" if num_gpus else "cpu") if config.device is Device.auto else config.device.value
        if device == "cuda" and not num_gpus:
            raise DarkroomError(
                "engine.device=cuda, but the cluster has no GPU; use engine.device=cpu or add a GPU node"
            )
        available = {"cuda": num_gpus, "mps": 1}.get(device, num_cpus)  # a Mac has one such device, for all its cores
        yield Engine(config, device, max(1, available) if config.num_workers is None else config.num_workers)
    finally:
        cluster.stop()


def local_device(device: Device, key: str = "device") -> str:
    """The device of this machine that is meant. Raises DarkroomError where it has no such."""
    available = _devices()
    if device is Device.auto:
        return available[0]
    if device.value not in available:
        raise DarkroomError(
            f"{key}={device.value}: this machine has no {device.value} device that torch can use; choices are "
            f"{', '.join(['auto', *available])}"
        )
    return device.value


def own_device(config: DictConfig) -> str:
    """What this process measures on: as the workers do, where this machine has such a device too."""
    device = likely_device(config)
    return device if device in _devices() else local_device(Device.auto)


def _devices() -> list[str]:
    """This machine's, the fastest first."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, is_there in there.items() if is_there]


def likely_device(config: DictConfig) -> str:
    """What the workers will probably use, without starting anything; a cluster may have what this machine has not.

    Raises DarkroomError where this machine alone is asked, and has no such device.
    """
    if config.address and config.device is not Device.auto:
        return config.device.value
    return local_device(config.device, _KEY)
