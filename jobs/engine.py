"""Starts what an `engine` configuration asks for, and runs tasks on it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from omegaconf import DictConfig

from conf.schema import Device, EngineKind
from pipeline.dispatch.events import Dispatcher
from pipeline.domain.errors import DarkroomError
from pipeline.worker.tasks import TaskRunner


@dataclass(frozen=True)
class Engine:
    """A started engine: which device its workers use, and how many there will be."""

    config: DictConfig
    device: str  # cpu, cuda or mps
    num_workers: int

    def dispatcher(self, spec: Callable[[], TaskRunner]) -> Dispatcher:
        """`spec` makes a worker in the process that will use it; it travels there, so it pickles."""
        if self.config.kind is EngineKind.local:
            from pipeline.dispatch.local import LocalDispatcher

            return LocalDispatcher(spec, self.config.max_attempts)
        from pipeline.dispatch.cluster import RayDispatcher

        num_gpus = 1 if self.device == "cuda" else 0
        return RayDispatcher(spec, self.num_workers, num_gpus, self.config.max_attempts)


@contextmanager
def started(config: DictConfig) -> Iterator[Engine]:
    """The engine, stopped at the end whatever happens."""
    if config.kind is EngineKind.local:
        yield Engine(config, local_device(config.device), 1)
        return
    from pipeline.dispatch import cluster

    cluster.start(config.address, config.num_workers)
    try:
        num_gpus, num_cpus = cluster.num_devices()
        device = ("cuda" if num_gpus else "cpu") if config.device is Device.auto else config.device.value
        if device == "cuda" and not num_gpus:
            raise DarkroomError(
                "engine.device=cuda, but the cluster has no GPU; use engine.device=cpu or add a GPU node"
            )
        available = {"cuda": num_gpus, "mps": 1}.get(device, num_cpus)  # a Mac has one such device, for all its cores
        yield Engine(config, device, config.num_workers or max(1, available))
    finally:
        cluster.stop()


def local_device(device: Device) -> str:
    """The device of this machine that `auto` means."""
    if device is not Device.auto:
        return device.value
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def likely_device(config: DictConfig) -> str:
    """What `auto` will probably mean, without starting anything: for a plan."""
    return "cpu" if os.environ.get("CUDA_VISIBLE_DEVICES") == "" else local_device(config.device)
