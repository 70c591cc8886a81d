"""Calls made again: full jitter, a growing pause, a deadline."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How long one try may take, and how long a call is worth making again."""

    deadline_s: float = 120.0  # from the first try; the last pause may not reach past it
    first_pause_s: float = 0.2  # the upper end of the first one; doubled each time
    longest_pause_s: float = 20.0
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0  # without a byte; more for a body that takes longer to send


class Retrier:
    """Makes calls again while they fail in passing, and counts how often. Safe to share between threads."""

    def __init__(
        self,
        is_passing: Callable[[Exception], bool],
        policy: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.num_retries = 0
        self._is_passing = is_passing
        self._policy = policy or RetryPolicy()
        self._sleep = sleep
        self._clock = clock
        self._uniform = uniform
        self._lock = threading.Lock()

    def call(self, function: Callable[[], T]) -> T:
        """The function's value. The last error, once it is no passing one or the deadline is reached."""
        end, longest_s = self._clock() + self._policy.deadline_s, self._policy.first_pause_s
        while True:
            try:
                return function()
            except Exception as error:
                pause_s = self._uniform(0, longest_s)
                if not self._is_passing(error) or self._clock() + pause_s > end:
                    raise
            with self._lock:
                self.num_retries += 1
            self._sleep(pause_s)
            longest_s = min(2 * longest_s, self._policy.longest_pause_s)
