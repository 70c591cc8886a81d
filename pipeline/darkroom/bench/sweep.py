"""A sweep as one job, against one job a cell: whole commands, start-up and all."""

from itertools import product
from pathlib import Path

from darkroom.bench.commands import seconds_of
from darkroom.bench.figure import Figure, Reach, Timing, ratios
from darkroom.bench.setting import Setting, alternated
from darkroom.bench.work import captions, write_prompts

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
