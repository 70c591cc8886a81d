"""How work goes on: how long each stage of the work on an image took, what threads are at, and how far copies from an
object store are.

Spans are measured in any thread of one process, and cost next to nothing where they are off.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

# In the order in which an image passes them. The indented ones are parts of `render`.
STAGES = (
    "load",
    "read",
    "render",
    "  text",
    "  denoise",
    "  decode",
    "  copy",
    "features",
    "encode",
    "sign",
    "put",
    "commit",
)
_NAMES = frozenset(stage.strip() for stage in STAGES)
_SAY_AFTER_S, _SAY_EVERY_S = 1.0, 10.0

_listen: ContextVar[Callable[[Any], None]] = ContextVar("listen", default=lambda event: None)


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


# Copies --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FilesCopied:
    """How far a copy is that takes a while."""

    uri: str
    num_bytes: int  # that are here
    total_bytes: int
    bytes_per_s: float

    def __str__(self) -> str:
        """One line."""
        share = 100 * self.num_bytes / max(1, self.total_bytes)
        here, total = readable_bytes(self.num_bytes), readable_bytes(self.total_bytes)
        return f"copied {here} of {total} of {self.uri} ({share:.0f} %, {readable_bytes(self.bytes_per_s)}/s)"


@contextmanager
def told_of_copies(listen: Callable[[Any], None]) -> Iterator[None]:
    """Inside, in this thread and in those that do its calls, `listen` hears FilesCopied."""
    token = _listen.set(listen)
    try:
        yield
    finally:
        _listen.reset(token)


class CopyProgress:
    """Of one copy: said once it takes a while, then now and then, and at its end."""

    def __init__(self, uri: str, total_bytes: int, num_bytes: int) -> None:
        """`num_bytes`: that are here already."""
        self._uri, self._total = uri, total_bytes
        self._num_before = self._num_bytes = num_bytes
        self._started = time.monotonic()
        self._due, self._was_said = self._started + _SAY_AFTER_S, False

    def add(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        if time.monotonic() >= self._due:
            self._due, self._was_said = time.monotonic() + _SAY_EVERY_S, True
            self._say()

    def end(self) -> None:
        if self._was_said:
            self._say()

    def _say(self) -> None:
        rate = (self._num_bytes - self._num_before) / max(time.monotonic() - self._started, 1e-9)
        _listen.get()(FilesCopied(self._uri, self._num_bytes, self._total, rate))


# Numbers for people --------------------------------------------------------------------------------------------------


def readable_bytes(size_bytes: float) -> str:
    """Such as 1.4 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def duration(seconds: float) -> str:
    """For people, such as "90 s", "12 min" or "3.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
