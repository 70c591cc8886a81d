"""Against the script that people write: a loop of `pipe(prompts)` and `image.save`, warm, with its best batch."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import torch

from darkroom.bench.darkroom_run import ray_dispatcher, render_job, whole
from darkroom.bench.figure import Figure, Reach, Setting, Timing, alternated, ratios
from darkroom.bench.work import Work, demo_work_to_compare, dit_work_to_compare, requests, tuned, with_best_batch_size
from darkroom.domain.records import ImageRequest
from darkroom.engine import cluster
from darkroom.runs.encoding import decode
from darkroom.runs.files import image_key


def diffusers_pipeline(work: Work) -> Any:
    """On its device, in its dtype, without a word."""
    import diffusers
    import transformers

    for library in (transformers, diffusers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    dtype = getattr(torch, work.model.identity.dtype)
    pipe = diffusers.DiffusionPipeline.from_pretrained(work.model.source, dtype=dtype, use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(work.device)


def call(pipe: Any, requests: Sequence[ImageRequest]) -> list[Any]:
    """PIL images of requests of one guidance scale, with the noise that Darkroom gives them."""
    sampling, negatives = requests[0].sampling, [request.sampling.negative_prompt for request in requests]
    return pipe(
        [request.prompt for request in requests],
        guidance_scale=sampling.guidance_scale,
        num_inference_steps=sampling.num_inference_steps,
        height=sampling.height,
        width=sampling.width,
        generator=[torch.Generator().manual_seed(request.seed) for request in requests],
        **({"negative_prompt": negatives} if any(negatives) else {}),
    ).images


def of_one_scale(requests: Sequence[ImageRequest], size: int) -> list[list[ImageRequest]]:
    """Batches of requests that one call of a pipeline can make: it takes one guidance scale, and negatives for each."""
    groups: dict[float, list[ImageRequest]] = {}
    for request in requests:
        groups.setdefault(request.sampling.guidance_scale, []).append(request)
    return [group[start : start + size] for group in groups.values() for start in range(0, len(group), size)]


T = TypeVar("T")
_HELD: list[Any] = []  # in a process of a pool: what it made, and the barrier


class WarmPool:
    """`size` processes, started with this interpreter's own settings and nothing else of this process."""

    def __init__(self, size: int, make: Callable[[], Any]) -> None:
        context = get_context("spawn")
        self._size = size
        self._pool = context.Pool(size, _hold, (make, context.Barrier(size)))

    def __enter__(self) -> "WarmPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.terminate()
        self._pool.join()

    def call(self, function: Callable[..., T], *arguments: Any) -> list[T]:
        """`function(what the process made, *arguments)` in every process at once."""
        return self._pool.starmap(_called, [(function, arguments)] * self._size, chunksize=1)


def _hold(make: Callable[[], Any], barrier: Barrier) -> None:
    _HELD[:] = [make(), barrier]


def _called(function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    made, barrier = _HELD
    barrier.wait()  # who waits takes no second call, so each process has one
    return function(made, *arguments)


_BATCH_SIZES = (1, 4, 8, 16, 32)


class Script:
    """A process with the pipeline loaded; torch takes as many threads as it does by itself."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._requests = requests(work)
        self._pipe = diffusers_pipeline(work)

    def timing(self, batch_size: int, num_images: int, folder: Path) -> Timing:
        """After a batch to warm up."""
        folder.mkdir(parents=True)
        batches = of_one_scale(self._requests[:num_images], batch_size)
        self._batch(batches[0], folder)
        started = time.perf_counter()
        for batch in batches:
            self._batch(batch, folder)
        return Timing(sum(map(len, batches)), time.perf_counter() - started)

    def num_threads(self) -> int:
        return torch.get_num_threads()

    def _batch(self, batch: Sequence[ImageRequest], folder: Path) -> None:
        for request, image in zip(batch, call(self._pipe, batch), strict=True):
            image.save(folder / f"{request.image_id}.png")


def diffusers_script(setting: Setting) -> list[Figure]:
    """Both have the whole machine: Darkroom a worker a core, the script torch's own threads."""
    return _against_script(setting, demo_work_to_compare(setting), "diffusers_script")


def dit_script(setting: Setting) -> list[Figure]:
    """The same of a diffusion transformer, on rows of different guidance, negative prompts and repeated prompts."""
    return _against_script(setting, dit_work_to_compare(setting), "dit_script")


def _against_script(setting: Setting, untuned: Work, name: str) -> list[Figure]:
    work, size = with_best_batch_size(setting, untuned), setting.num_workers
    cluster.start(None, size)
    try:
        with WarmPool(1, partial(Script, work)) as pool:
            return [_measured(setting, work, size, pool, name)]
    finally:
        cluster.stop()


def _measured(setting: Setting, work: Work, size: int, pool: WarmPool, name: str) -> Figure:
    def script(batch_size: int, num_images: int, folder: Path) -> Timing:
        return pool.call(Script.timing, batch_size, num_images, folder)[0]

    def darkroom(folder: Path) -> Timing:
        return whole(render_job(work, folder, ray_dispatcher(folder, size, work.device)).commits)

    few = setting.sized(64, 2)
    best, rates = tuned(setting, _BATCH_SIZES, lambda each: script(each, few, setting.folder / f"tuning-{each}"))
    timings = alternated(
        setting, {"darkroom": darkroom, "script": lambda folder: script(best, work.num_images, folder)}
    )
    return Figure(
        name=name,
        what="images/s from prompt file to committed shards over those of a plain diffusers loop that saves, both warm",
        unit="x",
        values=ratios(timings["darkroom"], timings["script"]),
        reach=Reach(1.5),
        timings=timings,
        settings={
            **work.said,
            "workers": size,
            "script_batch_size": best,
            "script_tried": rates,
            "script_threads": pool.call(Script.num_threads)[0],
            "largest_difference": largest_difference(work, setting.folder / "darkroom-0", setting.folder / "script-0"),
        },
    )


def largest_difference(work: Work, run: Path, script: Path) -> int:
    """Of the 8-bit values of all images, a run's and those that lie by their id in a folder."""
    ids = [request.image_id for request in requests(work)]
    pairs = ((run / image_key(image_id, "png"), script / f"{image_id}.png") for image_id in ids)
    return max(_difference(*(decode(path.read_bytes()) for path in pair)) for pair in pairs)


def _difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(np.int16) - other.astype(np.int16)).max())
