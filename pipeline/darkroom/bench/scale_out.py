"""Shards a second against the number of workers, and how many the dispatcher could hand out."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from darkroom.bench.darkroom_run import ray_dispatcher, render_job, steady, whole
from darkroom.bench.figure import Figure, Reach, Setting, Timing, alternated, ratios
from darkroom.bench.work import Work, write_prompts
from darkroom.domain.identity import ModelIdentity
from darkroom.domain.settings import Sampling
from darkroom.engine import cluster
from darkroom.engine.spec import WorkerSpec
from darkroom.engine.tasks import ShardReport, Task
from darkroom.engine.worker import Worker
from darkroom.rendering.renderer import PaintRenderer, paint_model
from darkroom.runs.run import RunInfo
from darkroom.storage.store import StoreSpec, open_store


@dataclass(frozen=True)
class SleeperSpec:
    """Calling it makes a real worker that paints after a pause."""

    run: RunInfo
    model: ModelIdentity
    store: StoreSpec
    seconds: float  # of a batch

    def __call__(self) -> Worker:
        return Worker(self.run, self._load, self.model, open_store(self.store))

    def _load(self, _: ModelIdentity) -> PaintRenderer:
        return PaintRenderer(1, self.seconds)


class Idler:
    """Answers at once and does nothing: the dispatcher's ceiling."""

    def run_task(self, task: Task, attempt: int) -> ShardReport:
        return ShardReport(1, 0, 0, 0.0, 0.0)

    def close(self) -> None:
        pass


_WORKERS = (1, 4, 16, 64)
_SHARD_S = 4.0  # of the renderer's pause: about what a batch of a large model takes
_SHARDS_A_WORKER = 8
_IDLE_SHARDS = 4000


def scale_out(setting: Setting) -> list[Figure]:
    """One Ray for all; actors of each number are new."""
    numbers = [number for number in _WORKERS if number <= setting.sized(max(_WORKERS), 4)]
    seconds = max(0.2, min(1.0, setting.scale) * _SHARD_S)
    cluster.start(None, max(numbers))
    try:
        return [_scaling(setting, numbers, seconds), *(_ceiling(setting, number) for number in {2, max(numbers)})]
    finally:
        cluster.stop()


def _scaling(setting: Setting, numbers: list[int], seconds: float) -> Figure:
    each = setting.sized(_SHARDS_A_WORKER, 5)
    timings = alternated(
        setting, {f"{number} workers": partial(_sleeping, setting, number, each, seconds) for number in numbers}
    )
    one, most = timings[f"{numbers[0]} workers"], timings[f"{numbers[-1]} workers"]
    return Figure(
        name="scale_out",
        what=f"shards/s of {numbers[-1]} workers over {numbers[-1]} times those of one",
        unit="",
        values=[ratio / numbers[-1] for ratio in ratios(most, one)],
        reach=Reach(0.95),
        timings=timings,
        settings={"workers": numbers, "seconds_per_shard": seconds, "shards_per_worker": each},
    )


def _sleeping(setting: Setting, number: int, each: int, seconds: float, folder: Path) -> Timing:
    work = _work(setting, number * each)

    def sleeper(spec: WorkerSpec) -> SleeperSpec:
        return SleeperSpec(spec.run, work.model.identity, spec.store, seconds)

    return steady(render_job(work, folder, ray_dispatcher(folder, number, work.device), sleeper).commits)


def _ceiling(setting: Setting, number: int) -> Figure:
    work = _work(setting, max(20 * number, setting.sized(_IDLE_SHARDS)))

    def idling(folder: Path) -> Timing:
        return whole(render_job(work, folder, ray_dispatcher(folder, number, work.device), lambda _: Idler).commits)

    timings = alternated(setting, {f"{number} idle workers": idling})
    (only,) = timings.values()
    return Figure(
        name=f"dispatcher_ceiling_{number}",
        what=f"shards/s that the dispatcher hands to {number} workers that do nothing",
        unit="shards/s",
        values=[timing.rate for timing in only],
        timings=timings,
        settings={"workers": number, "shards": work.num_images},
    )


def _work(setting: Setting, num_shards: int) -> Work:
    """Shards of one image."""
    prompts = write_prompts(setting.folder / f"things-{num_shards}.parquet", [f"thing {n}" for n in range(num_shards)])
    sampling = Sampling("default", 5.0, 1, 16, 16)
    return Work(prompts, num_shards, paint_model(), sampling, "cpu", batch_size=1, shard_size=1)
