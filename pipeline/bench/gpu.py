"""Large models on a real GPU, from prompt file to PNG: images a second, the share of the card's limit, peak memory."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pipeline.bench import ours
from pipeline.bench.architectures import SD15, SDXL, Architecture, random_pipeline
from pipeline.bench.figure import Figure, Timing
from pipeline.bench.limits import image_flop, matrix_rate
from pipeline.bench.log import steady
from pipeline.bench.setting import Setting, alternated
from pipeline.bench.work import Work, captions, requests, write_prompts
from pipeline.domain.cells import ModelIdentity, Sampling
from pipeline.rendering.diffusion import DiffusersRenderer
from pipeline.rendering.inspection import InspectedModel
from pipeline.storage.opening import open_store
from pipeline.worker.spec import WorkerSpec
from pipeline.worker.worker import Worker

_BATCH_SIZES = (1, 2, 4, 8, 16, 32)
_STEPS = 20
_GUIDANCE = 8.0
_IMAGES = 96
_DTYPE = torch.bfloat16


@dataclass(frozen=True)
class Load:
    """What a batch size takes and gives."""

    batch_size: int
    images_per_second: float
    peak_bytes: int


def gpu_sdxl(setting: Setting) -> list[Figure]:
    """1024 x 1024, 20 Euler steps, guidance 8, bfloat16."""
    return _measured(setting, SDXL)


def gpu_sd15(setting: Setting) -> list[Figure]:
    """512 x 512, 20 Euler steps, guidance 8, bfloat16."""
    return _measured(setting, SD15)


def _measured(setting: Setting, architecture: Architecture) -> list[Figure]:
    name, what = f"gpu_{architecture.name}", "images/s from prompt file to PNG files"
    if setting.device != "cuda":
        return [Figure(name, what, "images/s", skipped=f"needs a CUDA device, and this one is {setting.device}")]
    pipe = random_pipeline(architecture, setting.device, _DTYPE)
    work = gpu_work(setting, architecture)
    loads = [load for size in _BATCH_SIZES if (load := _load(pipe, replace(work, batch_size=size)))]
    best = max(loads, key=lambda load: load.images_per_second).batch_size
    work = replace(work, batch_size=best, shard_size=best)
    timings = alternated(setting, {"darkroom": lambda folder: rendered(pipe, work, folder)})
    rate, flop = matrix_rate(setting.device, _DTYPE), image_flop(architecture, _STEPS)
    limit = rate / flop
    settings = {
        **work.said,
        "card": torch.cuda.get_device_name(),
        "matrix_tflops": rate / 1e12,
        "tflop_an_image": flop / 1e12,
        "limit_images_per_second": limit,
        "by_batch": loads,
    }
    rates = [timing.rate for timing in timings["darkroom"]]
    shares = [each / limit for each in rates]
    shared = "images/s over those of the card's matrix rate alone"
    return [
        Figure(name, what, "images/s", rates, None, timings, settings),
        Figure(f"{name}_share", shared, "", shares, None, timings, {"limit_images_per_second": limit}),
    ]


def gpu_work(setting: Setting, architecture: Architecture) -> Work:
    """Without files of a model: its pipeline is in memory."""
    identity = ModelIdentity(f"random/{architecture.name}", "random", "bfloat16", architecture.pipeline_class)
    side = architecture.side
    model = InspectedModel(identity, "", None, None, side, side, False, 77, None)
    sampling = Sampling("default", _GUIDANCE, _STEPS, side, side)
    num_images = setting.sized(_IMAGES, 4) * (1 if architecture.is_xl else 4)
    prompts = write_prompts(setting.folder / f"{architecture.name}.parquet", captions(num_images))
    return Work(prompts, num_images, model, sampling, setting.device)


def rendered(pipe: object, work: Work, folder: Path) -> Timing:
    """By the pipeline in memory; everything else is a real run's."""
    renderer = DiffusersRenderer(pipe, work.renderer)

    def make(spec: WorkerSpec) -> ours.MakeWorker:
        store = open_store(spec.store)
        return lambda: Worker(spec.run, lambda _: renderer, work.model.identity, store)

    return steady(ours.rendered(work, folder, ours.on_one, make).commits)


def _load(pipe: object, work: Work) -> Load | None:
    """Two batches, the second of them timed; None where a batch does not fit."""
    wanted = [*requests(work) * work.batch_size][: work.batch_size]
    renderer = DiffusersRenderer(pipe, work.renderer)
    torch.cuda.reset_peak_memory_stats()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    renderer.render(wanted)
    events[0].record()
    images = renderer.render(wanted)
    events[1].record()
    torch.cuda.synchronize()
    if any(image.batch_size != work.batch_size for image in images):
        return None  # it was halved
    seconds = events[0].elapsed_time(events[1]) / 1000
    return Load(work.batch_size, work.batch_size / seconds, torch.cuda.max_memory_allocated())
