"""Benchmarks' work without a model, for tests that need no torch."""

from pathlib import Path

from darkroom.bench.figure import Setting
from darkroom.bench.work import Work, write_prompts
from darkroom.domain.settings import Sampling
from darkroom.rendering.renderer import paint_model


def paint_work(folder: Path, num_images: int, shard_size: int = 2) -> Work:
    prompts = write_prompts(folder / "prompts.parquet", [f"thing {n}" for n in range(num_images)])
    sampling = Sampling("default", 5.0, 1, 16, 16)
    return Work(prompts, num_images, paint_model(), sampling, "cpu", batch_size=2, shard_size=shard_size)


def setting(folder: Path, num_repeats: int = 1) -> Setting:
    return Setting(folder, 0.01, num_repeats, "cpu", 1, ("darkroom",), lambda _: None)
