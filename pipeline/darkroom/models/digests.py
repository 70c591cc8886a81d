"""Digests of files, and a memory of them: bytes that this machine has read once are not read again to name them.

What is remembered belongs to one state of a file: any write moves its ctime, which nobody can set. A file that was
written a moment ago is not remembered, since a clock may not tell the next write from that one.
"""

import hashlib
import os
import platform
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

from darkroom.domain.files import cache_folder

SHA256 = "sha256"
GIT_SHA1 = "git-sha1"  # of a blob, as git names it and the hub those of its files that are not large
_WORTH_BYTES = 1 << 20  # smaller files are read as fast as what is known of them
_SETTLED_S = 2.0  # the coarsest clock of a file system in use
_NUM_THREADS = 4

State = tuple[int, ...]


def state(path: Path) -> State:
    """What no write leaves as it is: device, inode, size, mtime and ctime, of what a link points to."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def file_digest(path: Path, kind: str = SHA256) -> str:
    """ "sha256:..." or "git-sha1:..." of a file's bytes."""
    now = state(path)
    if now[2] < _WORTH_BYTES:
        return f"{kind}:{_read(path, kind)}"
    found = _remembered(path, kind, now)
    if found is None:
        found = _read(path, kind)
        if state(path) == now and time.time_ns() - max(now[3:]) > _SETTLED_S * 1e9:
            _remember(_memory(path, kind), f"{_words(now)}\n{found}")
    return f"{kind}:{found}"


def file_digests(paths: Iterable[Path]) -> list[str]:
    """ "sha256:..." of each, several at once."""
    with ThreadPoolExecutor(_NUM_THREADS, "digest") as pool:
        return list(pool.map(file_digest, paths))


def is_known_at_once(path: Path, kind: str = SHA256) -> bool:
    """Whether its digest is not worth waiting for in another thread."""
    now = state(path)
    return now[2] < _WORTH_BYTES or _remembered(path, kind, now) is not None


def _read(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        if kind == SHA256:
            return hashlib.file_digest(file, "sha256").hexdigest()
        whole = hashlib.sha1(f"blob {os.fstat(file.fileno()).st_size}\0".encode(), usedforsecurity=False)
        while part := file.read(1 << 20):
            whole.update(part)
        return whole.hexdigest()


def _memory(path: Path, kind: str) -> Path:
    name = hashlib.sha256(f"{kind}\0{path.resolve()}".encode("utf-8", "surrogateescape")).hexdigest()
    return cache_folder("digests") / name


def _remembered(path: Path, kind: str, now: State) -> str | None:
    with suppress(OSError, ValueError):
        about, found = _memory(path, kind).read_text().split("\n")
        return found if about == _words(now) else None
    return None


def _words(now: State) -> str:
    return " ".join(map(str, (_machine(), *now)))


def _remember(known: Path, text: str) -> None:
    """Whole or not at all; who cannot write it reads the file again next time."""
    part = known.with_name(f"{known.name}.{os.getpid()}.{time.monotonic_ns()}")
    with suppress(OSError):
        known.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text)
        part.replace(known)


@cache
def _machine() -> str:
    """A home folder may be shared: numbers of devices and inodes are those of one machine, since it was started."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return platform.node().replace("\n", " ")
