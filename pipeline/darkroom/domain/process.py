"""This process and its machine: the cores that it may use, where the user's own cache lies, which files are below a
folder; and calls that neither an interrupt nor a fork may tear apart: imports of native libraries, and what is done in
torch.

Python raises KeyboardInterrupt in the main thread alone, at whatever line that is. Half an import of torch, or a mode
of torch that was entered and not left, makes every later call of the process fail. So the main thread has another one
do such calls, and only waits for it: an interrupt comes out at once, and what is under way ends by itself.

A process that is forked off while a thread makes such a call has what that thread held, and not the thread: it would
wait for ever for half an import, or for a lock of torch. So there they are refused.
"""

import _imp
import os
import shutil
import sysconfig
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from functools import partial, wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import ParamSpec, TypeVar

from darkroom.domain.errors import DarkroomError

_COMPILERS = ("cc", "gcc", "clang")
P = ParamSpec("P")
T = TypeVar("T")
_LONGEST_WAIT_S = 1.0
_pool: ThreadPoolExecutor | None = None  # of one thread, since what CUDA captured belongs to a thread
_under_way: list[None] = []  # one for each such call
_is_torn = False  # whether this process was forked off while there were any


def num_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lacks_for_compiling() -> str:
    """What torch.compile needs for a GPU and this machine does not have; empty where nothing is missing.

    Triton, which it makes kernels with, builds their launcher by a C compiler against Python's headers.
    """
    if find_spec("triton") is None:
        return "the package triton"
    if not os.environ.get("CC") and not any(map(shutil.which, _COMPILERS)):
        return "a C compiler"
    is_there = (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file()
    return "" if is_there else "Python's headers (python3-dev)"


def cache_folder(name: str) -> Path:
    """A part of the cache, which may be lost at any time: `$XDG_CACHE_HOME/darkroom/<name>`, or below ~/.cache."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = given if given.is_absolute() else Path("~/.cache").expanduser()  # the standard says to ignore relative ones
    return home / "darkroom" / name


def from_anywhere(place: str) -> str:
    """An address as it is; a path of this machine such that it is the same from every folder."""
    return place if "://" in place else os.path.abspath(os.path.expanduser(place))  # noqa: PTH100, PTH111 - as `locate`


def check_working_folder() -> None:
    """Raises DarkroomError where it was removed, so that libraries find nothing, absolute paths neither."""
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        raise DarkroomError("the working folder was removed; go to one that is there, as by `cd ~`") from None


def walk(folder: str, recursive: bool = True, hidden: str = ".") -> Iterator[str]:
    """Paths of files below a folder, but of those whose name, or whose folder's, begins with a character of `hidden`.

    Links to folders are followed, but each folder is entered once, lest they go in circles. Raises OSError.
    """
    entered: set[str] = set()
    for where, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        real = os.path.realpath(where)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if recursive and name[0] not in hidden)
        yield from (str(Path(where, name)) for name in names if name[0] not in hidden)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


# Imports and calls ---------------------------------------------------------------------------------------------------


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
        _free_imports()
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


def _free_imports() -> None:
    """Release the lock of all imports where an interrupt left it with this thread, which would stop every other one.

    `importlib` takes it in one line and begins to guard it in the next; Python raises KeyboardInterrupt between them.
    """
    with suppress(RuntimeError):  # it is another thread's, for a moment
        while _imp.lock_held():
            _imp.release_lock()


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
