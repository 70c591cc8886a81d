"""How far copies from an object store are, for whoever waits for them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from darkroom.domain.units import readable_bytes

_SAY_AFTER_S, _SAY_EVERY_S = 1.0, 10.0

_listen: ContextVar[Callable[[Any], None]] = ContextVar("listen", default=lambda event: None)


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
