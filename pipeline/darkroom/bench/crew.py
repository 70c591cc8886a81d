"""Processes of their own, each with what it loaded once, that begin every call together. Knows no model."""

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")
_HELD: list[Any] = []  # in a process of a crew: what it made, and the barrier


class Crew:
    """`size` processes, started with this interpreter's own settings and nothing else of this process."""

    def __init__(self, size: int, make: Callable[[], Any]) -> None:
        context = get_context("spawn")
        self._size = size
        self._pool = context.Pool(size, _hold, (make, context.Barrier(size)))

    def __enter__(self) -> "Crew":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.terminate()
        self._pool.join()

    def call(self, function: Callable[..., T], *arguments: Any) -> list[T]:
        """`function(what the process made, *arguments)` in every process at once."""
        return self._pool.starmap(_called, [(function, arguments)] * self._size, chunksize=1)


def _hold(make: Callable[[], Any], barrier: Barrier) -> None:
    _HELD[:] = [make(), barrier]


def _called(function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    made, barrier = _HELD
    barrier.wait()  # who waits takes no second call, so each process has one
    return function(made, *arguments)
