"""What a local store asks of the disk: synced writes, links that overwrite nothing, folders walked, and a lock.

No link is followed. Waiting for the lock names its holder, and ends.
"""

import errno
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from darkroom.domain.errors import DarkroomError
from darkroom.storage.store import StoreError

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})  # FAT, exFAT, some network disks
LOCK_WAIT_S = 30.0  # a holder needs milliseconds
_SAY_AFTER_S = 2.0
_UNLOCKED_S = 1.0  # from a file's beginning until its lock, at most
_SHORTEST_S, _LONGEST_S = 0.001, 0.05  # between two tries


@contextmanager
def synced(path: Path, data: bytes) -> Iterator[None]:
    """A new file whose bytes outlast a power cut; within the context it is not abandoned. Raises FileExistsError."""
    with path.open("xb") as file:
        with suppress(OSError):  # a disk without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        yield


def is_abandoned(path: Path) -> bool:
    """Whether the process that wrote a file by `synced` has ended; False where the disk cannot tell."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return time.time() - os.fstat(file.fileno()).st_mtime > _UNLOCKED_S
    except OSError:  # it is held, or gone
        return False


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def link(temporary: Path, path: Path) -> bool:
    """Whether the temporary file now lies at the path. A network disk may link, lose the reply and be asked again: then
    the file has two names."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return temporary.stat().st_nlink > 1
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise StoreError(
                f"{path.parent}: this disk has no hard links, which keep a file from being overwritten; "
                "use a folder on another one, such as ext4, xfs, btrfs or NFS"
            ) from None
        raise
    return True


def leads_out(link: Path) -> DarkroomError:
    """What is said of a link where a folder of the store belongs."""
    return DarkroomError(
        f"{link} is a link, and links inside a run's folder are not followed; put the folder itself there, or remove it"
    )


def files_below(folder: Path) -> Iterator[str]:
    """Every file whose name is not hidden, in order of path. Raises DarkroomError where a folder is a link."""
    found = walk_unlinked(folder, _refuse)
    return (f"{where}/{name}" for where, name in found if not name.startswith("."))  # locks and temporaries


def _refuse(link: Path) -> None:
    raise leads_out(link)


def walk_unlinked(folder: Path, met: Callable[[Path], None]) -> Iterator[tuple[str, str]]:
    """Every file below a folder, in order of its path; `met` hears of links to folders, which are not entered.

    In memory are the names alone: a folder may hold a million.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if not name.endswith("/"):
            yield str(folder), name
        elif not name.startswith("."):  # a hidden folder is no part of a store
            inner = folder / name
            if inner.is_symlink():
                met(inner)
            else:
                yield from walk_unlinked(inner, met)


# Locks ---------------------------------------------------------------------------------------------------------------


@contextmanager
def locked(path: Path, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold the file, which is made where it is not there; its content is left alone.

    Raises StoreError where another process has not let go of it in time, DarkroomError where it is no plain file.
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
