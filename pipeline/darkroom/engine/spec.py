"""Makes workers in the process that uses them: one that renders, and one that finds a batch size.

What they are made from is small, picklable, and without a secret. A batch size is found by trying: the smallest at
which a model renders nearly the most images a second.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import ModelIdentity, digest
from darkroom.domain.progress import Profile
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import Sampling
from darkroom.engine.device import CompileArtifacts
from darkroom.engine.pictures import Pictures
from darkroom.engine.tasks import ProbeTask, RetryTask, ShardReport, ShardTask, Task
from darkroom.engine.worker import Worker
from darkroom.evaluation.extractor import Extractor, ExtractorSpec
from darkroom.rendering.backends import OPENVINO, openvino_version
from darkroom.rendering.loading import loads_models
from darkroom.rendering.model_places import prefetch
from darkroom.rendering.renderer import Compiled, Renderer, RendererSpec, load_renderer
from darkroom.runs.run import RunInfo, open_run
from darkroom.runs.signing import ManifestSigner
from darkroom.runs.signing_keys import Signing
from darkroom.storage.local import user_cache
from darkroom.storage.store import NotFound, Store, StoreSpec, open_store

if TYPE_CHECKING:
    from darkroom.rendering.pretrained import LoadedPipeline

_BATCH_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64)
_MAX_UNET_ROWS = 63  # at 64 the Stable Diffusion UNets' `Upsample2D` leaves channels_last on a GPU, and is slower
_NUM_STEPS = 3
_NUM_TIMED = 2  # calls, after one that is not
_MAX_CALL_S = 30.0  # no larger batch is tried after a longer call
_NEAR_BEST = 0.97  # of the best rate: less memory and a shorter tail are worth the rest


@dataclass(frozen=True)
class WorkerSpec:
    """Calling it makes the worker, in the process that will use it."""

    run: RunInfo
    renderers: tuple[RendererSpec, ...]  # one for each of `shared_models` of the run; the first is loaded at once
    store: StoreSpec
    extractors: tuple[ExtractorSpec, ...] = ()  # make features of images with these as they are rendered
    batch_timeout_s: float | None = None  # how long a call of the renderer may take
    profile: bool = False  # measure the stages
    compiled: tuple[Compiled, ...] = ()  # by torch.compile in earlier runs
    name: str = "local"  # of the worker, as records and messages call it
    signing: Signing | None = None  # what images' manifests are signed with; None: they have none
    pictures: Pictures = Pictures()  # noqa: RUF009, frozen; what images are made from

    def __call__(self) -> Worker:
        store = open_store(self.store)
        _check_shared(store, self.run)
        first = self.renderers[0].model.identity
        load_extractors = self._load_extractors if self.extractors else None
        profile = Profile(self.profile)
        load = partial(self._load, profile)
        artifacts = CompileArtifacts(self.renderers[0].device, self.compiled) if self.renderers[0].compile else None
        new = artifacts.new if artifacts else None
        signer = ManifestSigner(self.signing) if self.signing else None
        worker = Worker(
            self.run,
            load,
            first,
            store,
            load_extractors,
            self.batch_timeout_s,
            profile,
            new,
            self.name,
            signer,
            self.pictures,
        )
        prefetch([spec.model for spec in self.renderers[1:]])
        return worker

    def for_worker(self, name: str, task: Task | None) -> "WorkerSpec":
        """The same for the worker of this name, which loads at once the model that its first task needs."""
        if not isinstance(task, ShardTask | RetryTask):
            return replace(self, name=name)
        needed = task.cell.model.base
        renderers = sorted(self.renderers, key=lambda spec: spec.model.identity != needed)
        return replace(self, name=name, renderers=tuple(renderers))

    def _load_extractors(self) -> list[Extractor]:
        from darkroom.evaluation.opening import load_extractor  # with torch, which not every renderer needs

        return [load_extractor(spec) for spec in self.extractors]

    def _load(self, profile: Profile, identity: ModelIdentity) -> Renderer:
        spec = next(spec for spec in self.renderers if spec.model.identity == identity)
        with profile.span("load"):
            return load_renderer(spec, profile)


def _check_shared(store: Store, run: RunInfo) -> None:
    """A folder of the driver's machine may be another one, or none, on the worker's."""
    try:
        same = replace(open_run(store), batch_size=None) == replace(run, batch_size=None)  # may be settled meanwhile
    except DarkroomError:
        same = False
    if not same:
        raise DarkroomError(
            f"{store.describe()} is not the run's folder on this worker's machine; use a shared folder or s3://"
        )


# Batch size ----------------------------------------------------------------------------------------------------------


def make_prober() -> "Prober":
    """The worker that finds a batch size, on the device that will use it, and remembers it in that machine's cache.

    Nothing is loaded until something must be measured.
    """
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
        device = _device_name(spec)
        key = f"{_key(spec, sampling, device)}.json"
        try:
            return int(json.loads(self._cache.get(key))["batch_size"])
        except (NotFound, ValueError, KeyError, TypeError):
            rates = measured_rates(spec, sampling)
        size = best_size(rates)
        about = {
            "batch_size": size,
            "images_per_s": rates,
            "model": spec.model.identity.repo_id,
            "device": device,
        }
        with suppress(OSError):  # the next run measures again
            self._cache.put(key, json.dumps(about).encode(), "application/json")
        return size


@loads_models
def _device_name(spec: RendererSpec) -> str:
    from darkroom.rendering.diffusion import device_name  # with torch

    return device_name(spec)


def _key(spec: RendererSpec, sampling: Sampling, device: str) -> str:
    """What the best size depends on: the model and how it is held, the images' size, guidance and the device."""
    model = spec.model.identity
    shape = sampling.height, sampling.width, sampling.is_guided, sampling.lossy
    held: list[object] = [found] if (found := {**model.lossy, **spec.model.execution}) else []
    held += [OPENVINO, openvino_version()] if spec.backend == OPENVINO else []
    return digest("batch size", model.revision, model.variant, model.dtype, shape, device, *held)


# Rates by batch size -------------------------------------------------------------------------------------------------


def measured_rates(spec: RendererSpec, sampling: Sampling) -> dict[int, float]:
    """Batch size -> images a second of a few uncompiled steps, as far as memory, time and use go."""
    from darkroom.rendering.pretrained import load_pipeline  # with torch

    spec = replace(spec, compile=False)
    return rates_of(load_pipeline(spec), spec, sampling)


def rates_of(loaded: "LoadedPipeline", spec: RendererSpec, sampling: Sampling) -> dict[int, float]:
    """The same for a pipeline that is loaded."""
    from darkroom.rendering.diffusion import DiffusersRenderer

    sampling = replace(sampling, num_inference_steps=min(_NUM_STEPS, sampling.num_inference_steps))
    rates: dict[int, float] = {}
    for size in _sizes(hasattr(loaded.pipe, "unet"), sampling.is_guided):
        seconds = _seconds(DiffusersRenderer(loaded, replace(spec, batch_size=size)), sampling)
        if seconds is None:
            break
        rates[size] = size / seconds
        if seconds > _MAX_CALL_S or _is_past_best(rates):
            break
    return rates


def best_size(rates: Mapping[int, float]) -> int:
    """The smallest size whose rate is near the best; 1 where not even one image could be rendered."""
    return min((size for size, rate in rates.items() if rate >= _NEAR_BEST * max(rates.values())), default=1)


def _sizes(has_unet: bool, is_guided: bool) -> Iterator[int]:
    rows = 2 if is_guided else 1
    return (size for size in _BATCH_SIZES if not has_unet or size * rows <= _MAX_UNET_ROWS)


def _is_past_best(rates: Mapping[int, float]) -> bool:
    """Whether the last two sizes were no better than one before them."""
    *before, second, last = [0.0, 0.0, *rates.values()]
    return max(before) > 0 and max(second, last) < max(before) / _NEAR_BEST


def _seconds(renderer: Renderer, sampling: Sampling) -> float | None:
    """Seconds of the quicker call; None where the batch was too large for the memory."""
    size = renderer.info.batch_size
    requests = [ImageRequest(str(number), "a photograph", number, sampling) for number in range(size)]
    times = []
    for _ in range(1 + _NUM_TIMED):
        started = time.perf_counter()
        if any(image.batch_size != size or image.pixels is None for image in renderer.render(requests)):
            return None
        times.append(time.perf_counter() - started)
    return min(times[1:])
