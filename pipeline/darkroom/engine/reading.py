"""Reading of many shards on workers: what each task finds is handed on in the order of the tasks, so that nothing that
is added up depends on the number of workers."""

import pickle
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from darkroom.domain.errors import DarkroomError, EndsRun, TryAgain
from darkroom.domain.progress import Doing
from darkroom.engine.dispatcher import Dispatcher
from darkroom.engine.tasks import (
    AttemptFailed,
    AttemptStarted,
    Event,
    Listener,
    ReadTask,
    ShardDone,
    ShardReport,
    Task,
    task_name,
)
from darkroom.storage.store import Store, StoreSpec, open_store


class ReadRefused(DarkroomError, EndsRun):
    """What one task meets that a person has to mend, such as a damaged manifest."""


@dataclass(frozen=True)
class ReaderSpec:
    """What the worker is made from: small, picklable, without a secret. Calling it makes the worker where it is."""

    store: StoreSpec
    stage: str  # for people

    def __call__(self) -> "Reader":
        return Reader(open_store(self.store), self.stage)


class Reader:
    """Answers ReadTasks, from as many threads as call it."""

    def __init__(self, store: Store, stage: str) -> None:
        self._store, self._stage = store, stage
        self._doing = Doing()

    def run_task(self, task: Task, attempt: int) -> ShardReport:
        """What it found is pickled here: arrays out of Ray's object store would keep all that they came with there."""
        assert isinstance(task, ReadTask)
        started = time.perf_counter()
        self._doing.taken()  # of a try that failed
        try:
            with self._doing.at(self._stage):
                found = pickle.dumps(task.read(self._store), protocol=5)
        except TryAgain:
            raise
        except DarkroomError as error:
            raise ReadRefused(str(error)) from None
        wall_s = time.perf_counter() - started
        return ShardReport(task.num_images, 0, 0, 0.0, wall_s, stage_s=self._doing.taken(), found=found)

    def longest(self) -> tuple[str, float] | None:
        """The stage that one of its threads has been at for longest, with the seconds; None where all are idle."""
        return self._doing.longest()

    def close(self) -> None:
        """Nothing is kept between tasks."""


class _InOrder:
    """Hands on what tasks found in the order of the tasks; what comes early waits here."""

    def __init__(self, each: Callable[[Any], None], most_ahead: Callable[[int], int]) -> None:
        self._each, self._most_ahead = each, most_ahead
        self._early: dict[int, bytes] = {}  # by number
        self._num_begun = self._num_given = 0

    def numbered(self, tasks: Iterable[ReadTask]) -> Iterator[ReadTask]:
        return (replace(task, number=number) for number, task in enumerate(tasks))

    def may_begin(self) -> bool:
        return self._num_begun - self._num_given < self._most_ahead(self._num_given)

    def hear(self, event: Event) -> None:
        match event:
            case AttemptStarted(task=ReadTask(number=number)):
                self._num_begun = max(self._num_begun, number + 1)
            case AttemptFailed(task=task, reason=reason, final=True):
                raise TryAgain(f"{task_name(task)}: {reason}; the same command goes on")
            case ShardDone(task=ReadTask(number=number), report=report):
                self._early[number] = report.found
        while self._num_given in self._early:
            self._each(pickle.loads(self._early.pop(self._num_given)))
            self._num_given += 1


def read_in_order(
    dispatcher: Dispatcher,
    tasks: Iterable[ReadTask],
    each: Callable[[Any], None],
    listen: Listener,
    most_ahead: Callable[[int], int],
) -> None:
    """`each` is given what every task found, in their order.

    `most_ahead`: how many more tasks may be under way, or have ended early, once `each` was given so many; at least 1.
    Raises DarkroomError for what a person has to mend, and TryAgain for a task that was given up.
    """
    in_order = _InOrder(each, most_ahead)

    def hear(event: Event) -> None:
        listen(event)
        in_order.hear(event)

    dispatcher.run(in_order.numbered(tasks), hear, in_order.may_begin)
