"""Darkroom's own run of a job, in this process or on Ray, and its rates: from the prompt file to committed shards."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from darkroom.bench.figure import Timing
from darkroom.bench.work import Work
from darkroom.domain.errors import DarkroomError
from darkroom.engine.dispatcher import Dispatcher
from darkroom.engine.planning import plan, shard_tasks
from darkroom.engine.spec import WorkerSpec
from darkroom.engine.tasks import AttemptFailed, Event, ShardDone, TaskRunner, WorkerReady
from darkroom.prompts.opening import open_prompts
from darkroom.runs.run import OutputInfo, PromptsInfo, RunInfo, create_or_check
from darkroom.storage.store import StoreSpec, open_store

MakeWorker = Callable[[], TaskRunner]
_POLL_S = 0.05
_LONGEST_S = 600.0
_MAX_ATTEMPTS = 1  # a benchmark that fails is told so


@dataclass(frozen=True)
class Commit:
    """A shard that became visible."""

    worker: str
    at_s: float  # of one clock
    count: int  # images


class Clock:
    """Listens to a dispatcher."""

    def __init__(self) -> None:
        self.ready_at: dict[str, float] = {}  # worker -> time
        self.commits: list[Commit] = []

    def listen(self, event: Event) -> None:
        now = time.time()  # the clock that files have too
        match event:
            case WorkerReady(worker=worker):
                self.ready_at[worker] = now
            case ShardDone(report=report, worker=worker):
                if report.num_failed:
                    raise DarkroomError(f"bench: {report.num_failed} images failed: {report.errors[0]}")
                self.commits.append(Commit(worker, now, report.num_ok))
            case AttemptFailed(reason=reason):
                raise DarkroomError(f"bench: a shard failed: {reason}")


def render_job(
    work: Work,
    folder: Path,
    dispatcher: Callable[[MakeWorker], Dispatcher],
    make_worker: Callable[[WorkerSpec], MakeWorker] = lambda spec: spec,
) -> Clock:
    """Render all of the job into `folder`; `make_worker` may put another worker in the place of the real one."""
    prompts = open_prompts(str(work.prompts))
    fingerprint = prompts.scan(1).fingerprint
    run = RunInfo(
        prompts=PromptsInfo(str(work.prompts), fingerprint, work.num_images),
        output=OutputInfo("files", "png", 0),
        seed=work.seed,
        num_images_per_prompt=1,
        shard_size=work.shard_size,
    )
    store = StoreSpec(str(folder))
    create_or_check(open_store(store), run)
    shards = plan(work.num_images, work.shard_size, [work.cell.cell_id], fingerprint)
    tasks = shard_tasks(shards, {work.cell.cell_id: work.cell}, prompts.blocks)
    clock = Clock()
    dispatcher(make_worker(WorkerSpec(run, (work.renderer,), store))).run(tasks, clock.listen)
    return clock


def local_dispatcher(make_worker: MakeWorker) -> Dispatcher:
    """One worker in this process."""
    from darkroom.engine.dispatcher import LocalDispatcher

    return LocalDispatcher(make_worker, _MAX_ATTEMPTS)


@dataclass(frozen=True)
class WorkerBarrier:
    """Makes a worker, and returns it when `size` processes have one: loading is not measured. They meet in a folder."""

    make: Callable[[], TaskRunner]
    folder: Path
    size: int

    def __call__(self) -> TaskRunner:
        worker = self.make()
        (self.folder / str(os.getpid())).touch()
        deadline = time.monotonic() + _LONGEST_S
        while len(list(self.folder.iterdir())) < self.size:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not all of {self.size} workers were loaded within {_LONGEST_S:.0f} s")
            time.sleep(_POLL_S)
        return worker


def ray_dispatcher(folder: Path, num_workers: int, device: str) -> Callable[[MakeWorker], Dispatcher]:
    """Actors of the Ray that was started, which begin when all are loaded; they meet beside `folder`."""
    from darkroom.engine.capacity import WorkerResources
    from darkroom.engine.ray_dispatcher import RayDispatcher

    meeting = folder.with_name(f"{folder.name}-meeting")
    meeting.mkdir()
    resources = WorkerResources(num_gpus=1 if device == "cuda" else 0)
    return lambda make_worker: RayDispatcher(
        WorkerBarrier(make_worker, meeting, num_workers), num_workers, _MAX_ATTEMPTS, resources
    )


def steady(commits: Sequence[Commit]) -> Timing:
    """The workers' rates while all of them were busy, added up: each from one of its commits to another.

    What counts lies between the last worker's first commit and the first worker's last one.
    """
    started, ended = _all_busy(commits)
    spans = [_span([each for each in of_one if started <= each.at_s <= ended]) for of_one in _by_worker(commits)]
    rates = [span.rate for span in spans if span.seconds > 0]
    if not rates:
        raise DarkroomError("bench: no worker committed two shards while all were busy; use a larger scale")
    count = sum(span.count for span in spans)
    return Timing(count, count / sum(rates))


def whole(commits: Sequence[Commit], end_s: float | None = None) -> Timing:
    """From when every worker had committed to the last commit, or to `end_s` where what was made lay there later."""
    started, _ = _all_busy(commits)
    ended = max(each.at_s for each in commits) if end_s is None else end_s
    count = sum(each.count for each in commits if each.at_s > started)
    if not count:
        raise DarkroomError("bench: nothing was committed after all workers had warmed up; use a larger scale")
    return Timing(count, ended - started)


def _by_worker(commits: Sequence[Commit]) -> list[list[Commit]]:
    names = dict.fromkeys(each.worker for each in commits)
    return [sorted((each for each in commits if each.worker == name), key=lambda each: each.at_s) for name in names]


def _all_busy(commits: Sequence[Commit]) -> tuple[float, float]:
    of_each = _by_worker(commits)
    return max(of_one[0].at_s for of_one in of_each), min(of_one[-1].at_s for of_one in of_each)


def _span(commits: Sequence[Commit]) -> Timing:
    """What the first commit holds was made before it."""
    if len(commits) < 2:
        return Timing(0, 0.0)
    return Timing(sum(each.count for each in commits[1:]), commits[-1].at_s - commits[0].at_s)
