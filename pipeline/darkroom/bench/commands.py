"""Whole commands against whole commands, start-up and all: a sweep as one job, scoring while rendering."""

import subprocess
import time
from itertools import product
from pathlib import Path

from darkroom.bench.figure import Figure, Reach, Setting, Timing, alternated, ratios
from darkroom.bench.work import captions, write_prompts
from darkroom.domain.errors import DarkroomError


def seconds_of(setting: Setting, job: str, *overrides: str) -> float:
    """How long the job takes. Raises DarkroomError with its last line where it fails."""
    started = time.perf_counter()
    ended = subprocess.run(
        [*setting.darkroom, job, *overrides], capture_output=True, text=True, check=False, errors="replace"
    )
    seconds = time.perf_counter() - started
    if ended.returncode:
        lines = (ended.stderr or ended.stdout).strip().splitlines() or ["it said nothing"]
        raise DarkroomError(f"bench: `darkroom {job}` ended with exit code {ended.returncode}: {lines[-1]}")
    return seconds


_AXES = {
    "guidance_scale": (1, 3, 5, 7.5, 12),
    "scheduler": ("ddim", "euler", "dpmpp_2m"),
    "num_inference_steps": (5, 10, 20),
}
_PROMPTS = 8  # of each cell: a look, as somebody has who chooses settings


def sweep_sharing(setting: Setting) -> list[Figure]:
    """5 x 3 x 3 cells at full scale; fewer at a smaller one."""
    axes = {name: values[: min(len(values), setting.sized(len(values)))] for name, values in _AXES.items()}
    cells = list(product(*axes.values()))
    prompts = write_prompts(setting.folder / "sweep-prompts.parquet", captions(_PROMPTS))
    shared = ("prompts=file", f"prompts.uri={prompts}", "engine=local", f"engine.device={setting.device}")

    def as_one(folder: Path) -> Timing:
        grid = [f"grid.axes.{name}=[{','.join(map(str, values))}]" for name, values in axes.items()]
        return Timing(len(cells), seconds_of(setting, "sweep", *shared, *grid, f"output.uri={folder}"))

    def one_by_one(folder: Path) -> Timing:
        seconds = 0.0
        for number, cell in enumerate(cells):
            settings = [f"sampling.{name}={value}" for name, value in zip(axes, cell, strict=True)]
            seconds += seconds_of(setting, "generate", *shared, *settings, f"output.uri={folder / str(number)}")
        return Timing(len(cells), seconds)

    timings = alternated(setting, {"one sweep": as_one, "runs": one_by_one})
    return [
        Figure(
            name="sweep_sharing",
            what=f"time of {len(cells)} runs, over that of one sweep of as many cells",
            unit="x",
            values=ratios(timings["one sweep"], timings["runs"]),
            reach=Reach(3),
            timings=timings,
            settings={"axes": axes, "prompts": _PROMPTS, "engine": "local", "model": "darkroom/demo"},
        )
    ]


_IMAGES = 64


def inline_scoring(setting: Setting) -> list[Figure]:
    """With the embedded CLIP; both end with the same figures of the run."""
    num_images = setting.sized(_IMAGES, 4)
    prompts = write_prompts(setting.folder / "scoring-prompts.parquet", captions(num_images))
    engine = ("engine=local", f"engine.device={setting.device}")
    generate = ("prompts=file", f"prompts.uri={prompts}", *engine)

    def inline(folder: Path) -> Timing:
        return Timing(num_images, seconds_of(setting, "generate", *generate, f"output.uri={folder}", "evaluate=inline"))

    def after(folder: Path) -> Timing:
        seconds = seconds_of(setting, "generate", *generate, f"output.uri={folder}")
        return Timing(num_images, seconds + seconds_of(setting, "evaluate", f"run={folder}", *engine))

    timings = alternated(setting, {"inline": inline, "after": after})
    return [
        Figure(
            name="inline_scoring",
            what="time of generate and then evaluate, over that of generate with evaluate=inline",
            unit="x",
            values=ratios(timings["inline"], timings["after"]),
            reach=Reach(1.2),
            timings=timings,
            settings={"images": num_images, "extractors": ["demo_clip"], "engine": "local", "model": "darkroom/demo"},
        )
    ]
