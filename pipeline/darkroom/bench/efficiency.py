"""How much of the bare loop's speed is left from the prompt file to committed shards."""

from functools import partial
from pathlib import Path

from darkroom.bench import ours
from darkroom.bench.bare import BareLoop
from darkroom.bench.crew import Crew
from darkroom.bench.figure import Figure, Reach, Timing, ratios
from darkroom.bench.log import steady
from darkroom.bench.setting import Setting, alternated
from darkroom.bench.work import Work, demo_work

_IMAGES_A_WORKER = 160
_REACH = Reach(0.93)


def local(setting: Setting) -> list[Figure]:
    """One worker in this process."""
    work = demo_work(setting, setting.sized(_IMAGES_A_WORKER, 24))

    def darkroom(folder: Path) -> Timing:
        return steady(ours.rendered(work, folder, ours.on_one).commits)

    with Crew(1, partial(BareLoop, work)) as crew:
        timings = alternated(setting, {"darkroom": darkroom, "bare loop": lambda _: _bare(crew, work, 1)})
    return [_figure("pipeline_efficiency_local", "one worker in process", work, timings, 1)]


def on_ray(setting: Setting) -> list[Figure]:
    """As many workers as there are cores, or GPUs; the bare loop runs in as many processes at once."""
    from darkroom.engine import cluster

    size = setting.num_workers
    work = demo_work(setting, size * setting.sized(_IMAGES_A_WORKER, 24))

    def darkroom(folder: Path) -> Timing:
        return steady(ours.rendered(work, folder, ours.on_ray(folder, size, setting.device)).commits)

    cluster.start(None, size)
    try:
        with Crew(size, partial(BareLoop, work)) as crew:
            timings = alternated(setting, {"darkroom": darkroom, "bare loop": lambda _: _bare(crew, work, size)})
    finally:
        cluster.stop()
    return [_figure("pipeline_efficiency_ray", f"{size} worker(s) on Ray", work, timings, size)]


def _bare(crew: Crew, work: Work, size: int) -> Timing:
    """The processes' rates, added up."""
    parts = crew.call(BareLoop.timing, max(1, work.num_images // work.batch_size // size))
    count = sum(part.count for part in parts)
    return Timing(count, count / sum(part.rate for part in parts))


def _figure(name: str, how: str, work: Work, timings: dict[str, list[Timing]], num_workers: int) -> Figure:
    return Figure(
        name=name,
        what=f"images/s from prompt file to committed shards over those of denoise and decode alone, {how}",
        unit="",
        values=ratios(timings["darkroom"], timings["bare loop"]),
        reach=_REACH,
        timings=timings,
        settings={**work.said, "workers": num_workers, "threads": 1 if work.device == "cpu" else None},
    )
