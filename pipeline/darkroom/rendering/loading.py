"""Keep the loading of a model apart from all else that one process does with models, in whatever threads.

transformers and diffusers import their parts when they are first asked for, and `from_pretrained` patches torch's
classes and its default dtype until it is done. A thread that loads meanwhile finds half a module; one that renders
makes parameters without data. So loading is alone in the process, and calls of loaded models run beside each other.
"""

import threading
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class _Access:
    """One loading thread, or any number of calling ones; who waits to load goes before calls that have not begun."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._loader: int | None = None  # thread that loads
        self._depth = 0  # of its calls in each other
        self._num_waiting = 0  # to load
        self._calling = Counter[int]()  # threads that call, each with the depth of its calls

    def begin_loading(self) -> None:
        with self._changed:
            if self._loader != threading.get_ident():
                self._num_waiting += 1
                try:
                    self._changed.wait_for(lambda: self._loader is None and not self._calling)
                finally:
                    self._num_waiting -= 1
                self._loader = threading.get_ident()
            self._depth += 1

    def end_loading(self) -> None:
        with self._changed:
            self._depth -= 1
            if not self._depth:
                self._loader = None
                self._changed.notify_all()

    def begin_calling(self) -> None:
        with self._changed:
            thread = threading.get_ident()
            if self._loader != thread and thread not in self._calling:
                self._changed.wait_for(lambda: self._loader is None and not self._num_waiting)
            self._calling[thread] += 1

    def end_calling(self) -> None:
        with self._changed:
            self._calling -= Counter([threading.get_ident()])  # leaves out what comes to nothing
            self._changed.notify_all()


_ACCESS = _Access()


def loads_models(load: Callable[P, T]) -> Callable[P, T]:
    """Mark what imports transformers or diffusers, or loads a model by them: alone in the process while it runs.

    One may call another; none may be called from what `calls_models` marks.
    """

    @wraps(load)
    def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        _ACCESS.begin_loading()
        try:
            return load(*args, **kwargs)
        finally:
            _ACCESS.end_loading()

    return alone


def calls_models(call: Callable[P, T]) -> Callable[P, T]:
    """Mark a call of a loaded model: not while another thread loads. One may call another."""

    @wraps(call)
    def beside_others(*args: P.args, **kwargs: P.kwargs) -> T:
        _ACCESS.begin_calling()
        try:
            return call(*args, **kwargs)
        finally:
            _ACCESS.end_calling()

    return beside_others
