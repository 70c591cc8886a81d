"""When the next worker may be started after starts that failed. Knows neither workers nor Ray."""

import time
from collections.abc import Callable

MAX_FAILED = 3  # starts in a row; from then on, a run that has no worker at all is given up
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 300.0


class Starts:
    """Failed starts in a row, and the pause after each: twice the one before, up to five minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.forget()

    @property
    def are_allowed(self) -> bool:
        return self._clock() >= self._not_before

    def forget(self) -> None:
        """A worker came or went that could start: what failed before it says nothing any more."""
        self.num_failed = 0
        self._pause_s = self._not_before = 0.0

    def failed(self) -> float:
        """Count a failed start; returns the pause in seconds."""
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S) if self.num_failed else _FIRST_PAUSE_S
        self.num_failed += 1
        self._not_before = self._clock() + self._pause_s
        return self._pause_s
