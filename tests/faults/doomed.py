"""Faults inside a job's own process.

At the nth write under a key's prefix, `before` or `after` it, the process kills itself (`kill`) or stops until it is
told to go on (`stall`). What stalls also paints other pictures than it should, so that a late write would show; what is
killed does where it is asked to, as another batch size would.
"""

import os
import signal
from dataclasses import dataclass
from itertools import count
from typing import Any

from darkroom.rendering import renderer
from darkroom.runs import compaction
from darkroom.storage.local import LocalStore
from darkroom.storage.objects import ObjectStore

SIGNALS = {"kill": signal.SIGKILL, "stall": signal.SIGSTOP}


@dataclass(frozen=True)
class Failing:
    """Called in a process, makes the painter fail for prompts with this word."""

    word: str

    def __call__(self) -> None:
        right = renderer.paint

        def failing(request: Any) -> Any:
            if self.word in request.prompt:
                raise RuntimeError("out of luck")
            return right(request)

        renderer.paint = failing


def doom(store: type, fault: str, when: str, prefix: str, nth: int) -> None:
    """Wrap the store's writes."""
    numbers = count(1)
    for name in ("put", "put_if_absent"):
        setattr(store, name, _dooming(getattr(store, name), lambda key: _is_it(key, prefix, numbers, nth), fault, when))


def _dooming(write: Any, is_it: Any, fault: str, when: str) -> Any:
    def doomed(self: Any, key: str, *arguments: Any) -> Any:
        now = is_it(key)
        if now and when == "before":
            os.kill(os.getpid(), SIGNALS[fault])
        written = write(self, key, *arguments)
        if now and when == "after":
            os.kill(os.getpid(), SIGNALS[fault])
        return written

    return doomed


def _is_it(key: str, prefix: str, numbers: Any, nth: int) -> bool:
    return key.startswith(prefix) and next(numbers) == nth


@dataclass(frozen=True)
class Doom:
    """Called in the process that shall suffer it."""

    fault: str  # kill or stall
    when: str  # before or after
    prefix: str
    nth: int
    other_pixels: bool = False

    def __call__(self) -> None:
        for store in (LocalStore, ObjectStore):
            doom(store, self.fault, self.when, self.prefix, self.nth)
        if self.fault == "stall" or self.other_pixels:
            right = renderer.paint
            renderer.paint = lambda request: 255 - right(request)


@dataclass(frozen=True)
class DoomWhileCopying(Doom):
    """The same in a process whose segments are full after two small shards."""

    def __call__(self) -> None:
        compaction.SEGMENT_ROWS, compaction._LEAST_SHARDS = 16, 2
        super().__call__()
