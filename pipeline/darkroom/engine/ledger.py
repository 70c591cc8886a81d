"""What a dispatcher may do next: which task, how often each was tried and when it is given up; when to start a worker.

A worker that dies takes up to two shards with it, of which one is to blame. So where it held two, neither is charged:
both become suspects, and run alone next time. A shard that was alone when its worker died is charged.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from darkroom.engine.tasks import Task

MAX_FAILED_STARTS = 3  # in a row; from then on, a run that has no worker at all is given up
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 300.0


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

    def __init__(self, tasks: Iterator[Task], max_attempts: int) -> None:
        self._fresh = tasks
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
        """Take back all that a dead worker held; returns those that are given up. A preempted node charges nobody."""
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


class StartBackoff:
    """Failed starts in a row, and the pause after each: twice the one before, up to five minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.reset()

    @property
    def allows_start(self) -> bool:
        return self._clock() >= self._not_before

    def reset(self) -> None:
        """A worker came or went that could start: what failed before it says nothing any more."""
        self.num_failed = 0
        self._pause_s = self._not_before = 0.0

    def failed(self) -> float:
        """Count a failed start; returns the pause in seconds."""
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S) if self.num_failed else _FIRST_PAUSE_S
        self.num_failed += 1
        self._not_before = self._clock() + self._pause_s
        return self._pause_s
