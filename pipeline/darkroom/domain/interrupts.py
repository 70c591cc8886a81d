"""Calls that neither an interrupt nor a fork may tear apart: imports of native libraries, and what is done in torch.

Python raises KeyboardInterrupt in the main thread alone, at whatever line that is. Half an import of torch, or a mode
of torch that was entered and not left, makes every later call of the process fail. So the main thread has another one
do such calls, and only waits for it: an interrupt comes out at once, and what is under way ends by itself.

A process that is forked off while a thread makes such a call has what that thread held, and not the thread: it would
wait for ever for half an import, or for a lock of torch. So there they are refused.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import partial, wraps
from importlib import import_module
from typing import ParamSpec, TypeVar

from darkroom.domain.errors import DarkroomError

P = ParamSpec("P")
T = TypeVar("T")
_LONGEST_WAIT_S = 1.0
_pool: ThreadPoolExecutor | None = None  # of one thread, since what CUDA captured belongs to a thread
_under_way: list[None] = []  # one for each such call
_is_torn = False  # whether this process was forked off while there were any


def off_main_thread(call: Callable[P, T]) -> Callable[P, T]:
    """The same call, in another thread where the main thread makes it; in any other thread it stays there.

    It raises DarkroomError in a process that was forked off while another thread made such a call.
    """

    @wraps(call)
    def noted(*args: P.args, **kwargs: P.kwargs) -> T:
        _under_way.append(None)
        try:
            return call(*args, **kwargs)
        finally:
            _under_way.pop()

    @wraps(call)
    def elsewhere(*args: P.args, **kwargs: P.kwargs) -> T:
        _check_whole()
        if threading.current_thread() is not threading.main_thread():
            return noted(*args, **kwargs)
        future = _thread().submit(copy_context().run, partial(noted, *args, **kwargs))
        while not future.done():  # an interrupt that comes just before a wait is seen after it
            wait([future], _LONGEST_WAIT_S)
        return future.result()

    return elsewhere


@off_main_thread
def import_whole(*modules: str) -> None:
    """Import these, whatever interrupts the caller meanwhile."""
    for module in modules:
        import_module(module)


def _thread() -> ThreadPoolExecutor:
    """The pool, which is kept once it knows its thread.

    One whose start was interrupted may have a thread that it does not know: the process would wait for it at its end.
    """
    global _pool
    if _pool is None:
        pool = ThreadPoolExecutor(1, "models")
        try:
            pool.submit(int).result()
        except BaseException:
            pool.shutdown(wait=False)  # which also ends a thread that it does not know
            raise
        _pool = pool
    return _pool


def _check_whole() -> None:
    if _is_torn:
        raise DarkroomError(
            "this process was forked off while another thread imported a library or was in a model, and would hang on "
            "what that thread held; start processes by spawn, as multiprocessing.get_context('spawn') does"
        )


def _after_fork() -> None:
    """The thread that forked is the only one here."""
    global _pool, _is_torn
    _pool, _is_torn = None, _is_torn or bool(_under_way)
    _under_way.clear()


os.register_at_fork(after_in_child=_after_fork)
