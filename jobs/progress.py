"""How far a stage is: a live bar on a terminal, a line now and then in a log."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from darkroom.engine.tasks import (
    AttemptFailed,
    Event,
    ShardDone,
    Summary,
    WorkerLost,
    WorkerReady,
    WorkersPending,
    task_name,
)

_LINE_EVERY_S = 10.0


class ProgressBar:
    """Counts the images of a stage; up from its making until it is closed."""

    def __init__(self, num_images: int, verb: str) -> None:
        self.verb = verb
        self.summary = Summary()
        self._console = Console(highlight=False, soft_wrap=True)
        self._num_images = num_images
        self._done = 0
        self._num_ready = 0
        self._started = self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images, {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("loading", total=num_images, rate="-")
        self._bar.start()

    def close(self) -> None:
        self._bar.stop()

    def listen(self, event: Event) -> None:
        self.summary.add(event)
        match event:
            case WorkerReady(worker, load_s):
                self._worker_ready(worker, load_s)
            case WorkersPending(num_workers):
                self._console.print(f"waiting for {num_workers} worker(s): still loading, or no room in the cluster")
            case WorkerLost(worker, reason):
                self._console.print(f"{worker} was lost: {reason}", markup=False)
            case AttemptFailed(task, attempt, reason, final):
                outcome = "given up" if final else "will be tried again"
                self._console.print(f"{task_name(task)}: attempt {attempt} failed, {outcome}: {reason}", markup=False)
            case ShardDone(report=report):
                self._advance(report.num_ok + report.num_failed - report.num_invalid)

    def _worker_ready(self, worker: str, load_s: float) -> None:
        self._num_ready += 1
        if self._num_ready == 1:
            self._started = time.monotonic()  # images a second are the workers' own, loading apart
        self._bar.update(self._task, description=self.verb)
        self._console.print(f"{worker} is ready ({load_s:.1f} s to load)", markup=False)

    def _advance(self, count: int) -> None:
        self._done += count
        self._num_images = max(self._num_images, self._done)  # of the shards that are left, an estimate
        rate = f"{self._done / max(time.monotonic() - self._started, 1e-9):.1f} images/s"
        self._bar.update(self._task, advance=count, total=self._num_images, rate=rate)
        now = time.monotonic()
        if not self._console.is_terminal and (now - self._last_line > _LINE_EVERY_S or self._done >= self._num_images):
            self._last_line = now
            self._console.print(f"{self._done} of {self._num_images} images, {rate}", markup=False)
