"""Reads many things of a store at once, and gives them in order. Knows neither what is read nor where it lies."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

_NUM_READERS = 8  # threads; a store far away answers each after a while


def read_ahead(items: Iterable[In], read: Callable[[In], Out]) -> Iterator[Out]:
    """In order, a few at a time: a store far away is not waited for one by one."""
    waiting: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(_NUM_READERS, "read") as pool:
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > 2 * _NUM_READERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
