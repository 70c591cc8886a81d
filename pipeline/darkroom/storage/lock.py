"""A file that one process of a machine holds at a time. Says who holds it, gives up in the end, and opens no link."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.domain.errors import DarkroomError
from darkroom.storage.store import StoreError

WAIT_S = 30.0  # a holder needs milliseconds
_SAY_AFTER_S = 2.0
_SHORTEST_S, _LONGEST_S = 0.001, 0.05  # between two tries


@contextmanager
def locked(path: Path, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the file, which is made where it is not there; its content is left alone.

    Raises StoreError where another process has not let go of it in time, DarkroomError where it is no file of ours.
    """
    handle = _opened(path)
    try:
        _wait(handle, path, wait_s)
        yield
    finally:
        os.close(handle)  # lets go


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        what = "a link" if path.is_symlink() else f"no file that can be opened ({error.strerror})"
        raise DarkroomError(f"{path}: {what}, where a lock belongs; remove it, and it is made anew") from None


def _wait(handle: int, path: Path, wait_s: float) -> None:
    started, pause_s, said = time.monotonic(), _SHORTEST_S, False
    while not _taken(handle):
        waited_s = time.monotonic() - started
        if waited_s >= wait_s:
            raise StoreError(f"{path}: {_holder(handle)} has held it for {waited_s:.0f} s; end that process")
        if waited_s >= _SAY_AFTER_S and not said:
            said = True
            print(
                f"waiting for {path}, which {_holder(handle)} holds, for {wait_s:.0f} s at most",
                file=sys.stderr,
                flush=True,
            )
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_S)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(handle: int) -> str:
    """The process, where the system tells: Linux does, of its own machine's processes."""
    inode = f":{os.fstat(handle).st_ino}"
    try:
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        lines = []
    pids = [line[4] for line in lines if line[1] == "FLOCK" and line[5].endswith(inode) and int(line[4]) > 0]
    return f"process {pids[0]}" if pids else "another process"
