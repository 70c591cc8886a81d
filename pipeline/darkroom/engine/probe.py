"""The worker that finds a batch size, on the device that will use it, and remembers it in that machine's cache."""

import json
from contextlib import suppress

from darkroom.domain.identity import digest
from darkroom.domain.settings import Sampling
from darkroom.engine.tasks import ProbeTask, ShardReport, Task
from darkroom.rendering.batch_size import best_size, measured_rates
from darkroom.rendering.diffusion import device_name
from darkroom.rendering.renderer import RendererSpec
from darkroom.storage.opening import user_cache
from darkroom.storage.store import NotFound, Store


def make_prober() -> "Prober":
    """Nothing is loaded until something must be measured."""
    return Prober(user_cache("batch_sizes"))


class Prober:
    """Answers one kind of task, one at a time."""

    def __init__(self, cache: Store) -> None:
        self._cache = cache

    def run_task(self, task: Task, attempt: int) -> ShardReport:
        assert isinstance(task, ProbeTask)
        size = self._batch_size(task.renderer, task.sampling)
        return ShardReport(0, 0, 0, render_s=0.0, wall_s=0.0, batch_size=size)

    def close(self) -> None:
        """A probe ends by itself."""

    def _batch_size(self, spec: RendererSpec, sampling: Sampling) -> int:
        key = f"{_key(spec, sampling)}.json"
        try:
            return int(json.loads(self._cache.get(key))["batch_size"])
        except (NotFound, ValueError, KeyError, TypeError):
            rates = measured_rates(spec, sampling)
        size = best_size(rates)
        about = {
            "batch_size": size,
            "images_per_s": rates,
            "model": spec.model.identity.repo_id,
            "device": device_name(spec),
        }
        with suppress(OSError):  # the next run measures again
            self._cache.put(key, json.dumps(about).encode(), "application/json")
        return size


def _key(spec: RendererSpec, sampling: Sampling) -> str:
    """What the best size depends on: the model, the images' size, guidance and the device."""
    model = spec.model.identity
    shape = sampling.height, sampling.width, sampling.is_guided, sampling.lossy
    return digest("batch size", model.revision, model.variant, model.dtype, shape, device_name(spec))
