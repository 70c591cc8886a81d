"""Large models on a real GPU, from prompt file to PNG: images a second, the share of the card's limit, peak memory."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from darkroom.bench.darkroom_run import local_dispatcher, render_job, steady
from darkroom.bench.figure import Figure, Setting, Timing, Timings, alternated
from darkroom.bench.machine import SD15, SDXL, Architecture, image_flop, matrix_rate, random_pipeline
from darkroom.bench.work import Work, captions, requests, write_prompts
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering.diffusion import DiffusersRenderer
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.pretrained import load_pipeline

_BATCH_SIZES = (1, 2, 4, 8, 16, 32)
_STEPS = 20
_GUIDANCE = 8.0
_IMAGES = 96


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
    work = random_work(setting, architecture, "bfloat16")
    loads = _loads(work)
    best = max(loads, key=lambda load: load.images_per_second).batch_size
    work = replace(work, batch_size=best, shard_size=best)
    ways = {"eager": work, "compiled": replace(work, compile=True)}
    timings = alternated(setting, {way: partial(rendered, each) for way, each in ways.items()})
    rate, flop = (
        matrix_rate(setting.device, torch.bfloat16),
        image_flop(architecture, work.sampling.num_inference_steps),
    )
    settings = {
        **work.said,
        "card": torch.cuda.get_device_name(),
        "matrix_tflop_per_second": rate / 1e12,
        "tflop_per_image": flop / 1e12,
        "limit_images_per_second": rate / flop,
        "by_batch": loads,
    }
    return [
        figure
        for way in ways
        for figure in _figures(f"{name}_{way}", what, [each.rate for each in timings[way]], timings, settings)
    ]


def _figures(
    name: str, what: str, rates: list[float], timings: Timings, settings: Mapping[str, object]
) -> list[Figure]:
    limit = float(str(settings["limit_images_per_second"]))
    fractions = [each / limit for each in rates]
    return [
        Figure(name, what, "images/s", rates, None, timings, settings),
        Figure(
            f"{name}_share", f"{what} over those of the card's matrix rate alone", "", fractions, None, {}, settings
        ),
    ]


def random_work(setting: Setting, architecture: Architecture, dtype: str) -> Work:
    """A model of random weights on the disk, to be loaded as any other is."""
    folder, side = setting.folder / architecture.name, architecture.side
    random_pipeline(architecture, setting.device, getattr(torch, dtype)).save_pretrained(folder)
    sampling = Sampling("default", _GUIDANCE, min(_STEPS, setting.sized(_STEPS, 2)), side, side)
    num_images = setting.sized(_IMAGES, 8) * (1 if architecture.is_xl else 4)
    prompts = write_prompts(setting.folder / f"{architecture.name}.parquet", captions(num_images))
    model = inspect_model(ModelRef(str(folder), dtype=dtype), setting.device)
    return Work(prompts, num_images, model, sampling, setting.device)


def rendered(work: Work, folder: Path) -> Timing:
    return steady(render_job(work, folder, local_dispatcher).commits)


def _loads(work: Work) -> list[Load]:
    """Of every batch size that fits."""
    pipe = load_pipeline(work.renderer)
    found = [_load(pipe, replace(work, batch_size=size)) for size in _BATCH_SIZES]
    return [load for load in found if load]


def _load(pipe: Any, work: Work) -> Load | None:
    """A batch of one step to warm up, and a timed one of all steps; None where a batch does not fit."""
    wanted = [*requests(work) * work.batch_size][: work.batch_size]
    one_step = replace(work.sampling, num_inference_steps=1)
    renderer = DiffusersRenderer(pipe, work.renderer)
    torch.cuda.reset_peak_memory_stats()
    renderer.render([replace(request, sampling=one_step) for request in wanted])
    started = time.perf_counter()
    images = renderer.render(wanted)  # pixels lie on the CPU at its end, so the device has ended too
    seconds = time.perf_counter() - started
    if any(image.batch_size != work.batch_size for image in images):
        return None  # it was halved
    return Load(work.batch_size, work.batch_size / seconds, torch.cuda.max_memory_allocated())
