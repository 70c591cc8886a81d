"""Spans: how long each stage of the work on an image took, measured in any thread of one process.

Costs next to nothing when it is off.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

# In the order in which an image passes them. The indented ones are parts of `render`.
STAGES = ("load", "read", "render", "  text", "  denoise", "  decode", "  copy", "features", "encode", "put", "commit")
_NAMES = frozenset(stage.strip() for stage in STAGES)


@dataclass(frozen=True, slots=True)
class Span:
    """One piece of work."""

    stage: str
    start_s: float  # Unix time
    busy_s: float
    waiting_s: float  # how long the work lay ready before somebody took it
    thread: str


class Profile:
    """Collects spans until somebody takes them."""

    def __init__(self, is_on: bool = True) -> None:
        self.is_on = is_on
        self._spans: deque[Span] = deque()

    def span(self, stage: str, ready_s: float | None = None) -> AbstractContextManager[None]:
        """Measures what happens inside; `ready_s` is the Unix time at which it could have begun."""
        assert stage in _NAMES
        return self._measured(stage, ready_s) if self.is_on else nullcontext()

    def taken(self) -> tuple[Span, ...]:
        """The spans since the last call."""
        return tuple(self._spans.popleft() for _ in range(len(self._spans)))

    @contextmanager
    def _measured(self, stage: str, ready_s: float | None) -> Iterator[None]:
        start_s, started = time.time(), time.perf_counter()
        try:
            yield
        finally:
            waiting_s = 0.0 if ready_s is None else max(0.0, start_s - ready_s)
            name = threading.current_thread().name
            self._spans.append(Span(stage, start_s, time.perf_counter() - started, waiting_s, name))


OFF = Profile(is_on=False)


class Doing:
    """What the threads of one process are at right now, in words for people."""

    def __init__(self) -> None:
        self._begun: dict[int, tuple[str, float]] = {}  # thread -> (stage, when it was begun)
        self._done = threading.local()  # `seconds`: stage -> how long this thread was at it

    @contextmanager
    def at(self, stage: str) -> Iterator[None]:
        thread, begun = threading.get_ident(), time.monotonic()
        self._begun[thread] = stage, begun
        try:
            yield
        finally:
            del self._begun[thread]
            self.add(stage, time.monotonic() - begun)

    def add(self, stage: str, seconds: float) -> None:
        """Count so much more of this thread's time."""
        found = self._done.__dict__.setdefault("seconds", {})
        found[stage] = found.get(stage, 0.0) + seconds

    def taken(self) -> dict[str, float]:
        """Stage -> seconds that this thread was at it since the last call."""
        found: dict[str, float] = self._done.__dict__.pop("seconds", {})
        return found

    def longest(self) -> tuple[str, float] | None:
        """The stage that was begun first, with the seconds since then."""
        stage, begun = min(list(self._begun.values()), key=lambda each: each[1], default=("", 0.0))
        return (stage, time.monotonic() - begun) if stage else None
