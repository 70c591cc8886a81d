"""Darkroom's own run of a job, in this process or on Ray: from the prompt file to committed shards, with a clock."""

import time
from collections.abc import Callable
from pathlib import Path

from darkroom.bench.gate import Together
from darkroom.bench.log import Commit
from darkroom.bench.work import Work
from darkroom.dispatch.events import AttemptFailed, Dispatcher, Event, ShardDone, WorkerReady
from darkroom.domain.errors import DarkroomError
from darkroom.planning.plan import plan
from darkroom.planning.tasks import shard_tasks
from darkroom.prompts.opening import open_prompts
from darkroom.runs.run import OutputInfo, PromptsInfo, RunInfo, create_or_check
from darkroom.storage.opening import open_store
from darkroom.storage.store import StoreSpec
from darkroom.worker.spec import WorkerSpec
from darkroom.worker.tasks import TaskRunner

MakeWorker = Callable[[], TaskRunner]
_MAX_ATTEMPTS = 1  # a benchmark that fails is told so


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


def rendered(
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


def on_one(make_worker: MakeWorker) -> Dispatcher:
    """One worker in this process."""
    from darkroom.dispatch.local import LocalDispatcher

    return LocalDispatcher(make_worker, _MAX_ATTEMPTS)


def on_ray(folder: Path, num_workers: int, device: str) -> Callable[[MakeWorker], Dispatcher]:
    """Actors of the Ray that was started, which begin when all are loaded; they meet beside `folder`."""
    from darkroom.dispatch.cluster import RayDispatcher

    meeting = folder.with_name(f"{folder.name}-meeting")
    meeting.mkdir()
    num_gpus = 1 if device == "cuda" else 0
    return lambda make_worker: RayDispatcher(
        Together(make_worker, meeting, num_workers), num_workers, num_gpus, _MAX_ATTEMPTS
    )
