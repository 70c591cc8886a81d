"""This machine: the cores that a process may use, where the user's own cache lies, which files are below a folder."""

import os
import shutil
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from darkroom.domain.errors import DarkroomError

_COMPILERS = ("cc", "gcc", "clang")


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
