"""Dispatchers: what every one keeps of its attempts, and the one without Ray.

A worker that dies takes up to two shards with it, of which one is to blame. So where it held two, neither is charged:
both become suspects, and run alone next time. A shard that was alone when its worker died is charged.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

from darkroom.domain.errors import EndsRun, TryAgain, WrongModel
from darkroom.engine.tasks import (
    SAY_STALL_EVERY_S,
    AttemptFailed,
    AttemptStarted,
    Listener,
    ShardDone,
    ShardReport,
    Task,
    TaskRunner,
    WorkerReady,
    WorkersGone,
    stalled,
)
from darkroom.rendering.renderer import FatalDeviceError

_IN_FLIGHT = 2  # shards of the local worker
_NAME = "local"


class Dispatcher(Protocol):
    """Runs every task on workers and says what became of each."""

    def run(self, tasks: Iterator[Task], listen: Listener, may_begin: Callable[[], bool] = lambda: True) -> None:
        """`may_begin`: whether one more of the tasks may be begun now; where none may, some are under way."""
        ...


@dataclass
class Attempt:
    """One task on its way: how many tries were made and how many of them failed by its own fault."""

    task: Task
    number: int = 0  # tries made, this one included
    charged: int = 0
    last_error: str = ""
    alone: bool = False  # must not share its worker


class Ledger:
    """Tasks that wait, bounded by what the workers ask for; never more of the dataset than that."""

    def __init__(self, tasks: Iterator[Task], max_attempts: int, may_begin: Callable[[], bool] = lambda: True) -> None:
        self._fresh = tasks
        self._may_begin = may_begin
        self._to_retry: deque[Attempt] = deque()
        self._suspects: deque[Attempt] = deque()
        self._max_attempts = max_attempts
        self._next_fresh: Attempt | None = None

    @property
    def has_suspects(self) -> bool:
        return bool(self._suspects)

    @property
    def is_empty(self) -> bool:
        return not (self._suspects or self._to_retry or self._peek())

    @property
    def next_task(self) -> Task | None:
        """Of those that were read already."""
        waiting = (*self._suspects, *self._to_retry, self._next_fresh)
        return next((attempt.task for attempt in waiting if attempt), None)

    def take(self) -> Attempt | None:
        """The next task that may share a worker."""
        if self._to_retry:
            return self._start(self._to_retry.popleft())
        if not self._may_begin():
            return None
        attempt = self._peek()
        self._next_fresh = None
        return self._start(attempt) if attempt else None

    def take_suspect(self) -> Attempt | None:
        """The next task that needs a worker to itself."""
        return self._start(self._suspects.popleft()) if self._suspects else None

    def failed(self, attempt: Attempt, error: str, to_blame: bool = True) -> bool:
        """Take a failed try back. True when the task is given up."""
        attempt.charged += to_blame
        attempt.last_error = error
        if attempt.charged >= self._max_attempts:
            return True
        (self._suspects if attempt.alone else self._to_retry).append(attempt)
        return False

    def died(self, attempts: list[Attempt], error: str, charge: bool = True) -> list[Attempt]:
        """Take back all that a dead worker held; returns those that are given up. A preempted node charges no task."""
        to_blame = charge and len(attempts) == 1
        for attempt in attempts:
            attempt.alone = attempt.alone or charge
        return [attempt for attempt in attempts if self.failed(attempt, error, to_blame)]

    def _peek(self) -> Attempt | None:
        if self._next_fresh is None:
            task = next(self._fresh, None)
            self._next_fresh = None if task is None else Attempt(task)
        return self._next_fresh

    def _start(self, attempt: Attempt) -> Attempt:
        attempt.number += 1
        return attempt


# Without Ray ---------------------------------------------------------------------------------------------------------


class LocalDispatcher:
    """Runs tasks on one worker of this process."""

    def __init__(self, make_worker: Callable[[], TaskRunner], max_attempts: int) -> None:
        self._make_worker = make_worker
        self._max_attempts = max_attempts

    def run(self, tasks: Iterator[Task], listen: Listener, may_begin: Callable[[], bool] = lambda: True) -> None:
        started = time.perf_counter()
        worker = self._make_worker()
        listen(WorkerReady(_NAME, time.perf_counter() - started))
        ledger = Ledger(tasks, self._max_attempts, may_begin)
        pool = ThreadPoolExecutor(_IN_FLIGHT, "shard")
        in_flight: dict[Future[ShardReport], Attempt] = {}
        try:
            while _fill(pool, worker, ledger, in_flight, listen):
                done, _ = wait(in_flight, timeout=SAY_STALL_EVERY_S, return_when=FIRST_COMPLETED)
                if not done and (said := stalled(_NAME, longest_of(worker))):
                    listen(said)
                for future in done:
                    _settle(future, in_flight.pop(future), ledger, listen)
        finally:
            worker.close()
            pool.shutdown(wait=False, cancel_futures=True)
        listen(WorkersGone())


def longest_of(worker: TaskRunner) -> tuple[str, float] | None:
    """The stage that a worker has been at for longest, of those that say so."""
    ask: Callable[[], tuple[str, float] | None] = getattr(worker, "longest", lambda: None)
    return ask()


def _fill(
    pool: ThreadPoolExecutor,
    worker: TaskRunner,
    ledger: Ledger,
    in_flight: dict[Future[ShardReport], Attempt],
    listen: Listener,
) -> bool:
    """Keep two shards under way; False when nothing is left."""
    while len(in_flight) < _IN_FLIGHT and (attempt := ledger.take()):
        listen(AttemptStarted(attempt.task, _NAME))
        in_flight[pool.submit(worker.run_task, attempt.task, attempt.number)] = attempt
    return bool(in_flight)


def _settle(future: Future[ShardReport], attempt: Attempt, ledger: Ledger, listen: Listener) -> None:
    error = future.exception()
    if error is None:
        listen(ShardDone(attempt.task, future.result(), _NAME))
    elif isinstance(error, FatalDeviceError):
        raise TryAgain(f"the device was lost ({error}); run the same command again in a new process") from error
    elif isinstance(error, EndsRun | WrongModel) or not isinstance(error, Exception):
        raise error
    else:
        reason = f"{type(error).__name__}: {error}"
        final = ledger.failed(attempt, reason)
        listen(AttemptFailed(attempt.task, attempt.number, reason, final))
