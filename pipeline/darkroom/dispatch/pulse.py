"""Whether a worker still answers: one that is stopped, or swaps, or sits on a node that hangs, never fails by itself.

Knows neither workers nor Ray.
"""

import time
from collections.abc import Callable
from typing import Any

ASK_EVERY_S = 10.0
MOST_SILENT_S = 120.0  # a worker's other threads may hold the interpreter for a while, as when it loads a model


class Pulse:
    """One worker's. `ask` puts a question that is answered at once, and gives what `has_answered` is told."""

    def __init__(self, ask: Callable[[], Any], has_answered: Callable[[Any], bool]) -> None:
        self._ask = ask
        self._has_answered = has_answered
        self._question: Any = None
        self._asked_at = 0.0

    @property
    def silent_s(self) -> float:
        """For how long it owes an answer; who owes none is asked anew."""
        if self._question is None or self._has_answered(self._question):
            self._question, self._asked_at = self._ask(), time.monotonic()
        return time.monotonic() - self._asked_at
