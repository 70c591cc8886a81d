"""The dispatcher without Ray: one worker in this process, two shards in flight."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from darkroom.domain.errors import EndsRun, TryAgain, WrongModel
from darkroom.engine.events import AttemptFailed, Listener, ShardDone, WorkerReady
from darkroom.engine.ledger import Attempt, Ledger
from darkroom.engine.tasks import ShardReport, Task, TaskRunner
from darkroom.rendering.renderer import FatalDeviceError

_IN_FLIGHT = 2
_NAME = "local"


class LocalDispatcher:
    """Runs tasks on one worker of this process."""

    def __init__(self, make_worker: Callable[[], TaskRunner], max_attempts: int) -> None:
        self._make_worker = make_worker
        self._max_attempts = max_attempts

    def run(self, tasks: Iterator[Task], listen: Listener) -> None:
        started = time.perf_counter()
        worker = self._make_worker()
        listen(WorkerReady(_NAME, time.perf_counter() - started))
        ledger = Ledger(tasks, self._max_attempts)
        pool = ThreadPoolExecutor(_IN_FLIGHT, "shard")
        in_flight: dict[Future[ShardReport], Attempt] = {}
        try:
            while _fill(pool, worker, ledger, in_flight):
                done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
                for future in done:
                    _settle(future, in_flight.pop(future), ledger, listen)
        finally:
            worker.close()
            pool.shutdown(wait=False, cancel_futures=True)


def _fill(pool: ThreadPoolExecutor, worker: TaskRunner, ledger: Ledger, in_flight: dict) -> bool:
    """Keep two shards under way; False when nothing is left."""
    while len(in_flight) < _IN_FLIGHT and (attempt := ledger.take()):
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
