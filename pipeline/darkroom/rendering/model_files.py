"""A model's files: had from the hub, which of them shape its pixels, and their digests.

Digests of large files are remembered: a file that this machine has read once is not read again to name it. An entry is
valid for one state of a file: any write moves its ctime, which no program can set. A file that was written a moment ago
is not remembered, since a coarse clock may give the next write the same time.
"""

import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.process import cache_folder

INDEX = "model_index.json"
SMALL_FILES = ("*.json", "*.txt", "*.model")  # by which a model is inspected
PICKLES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl"})
# Weights in formats that are never opened here (.xml is OpenVINO's network), and documentation.
NEVER_READ = PICKLES | {".h5", ".msgpack", ".onnx", ".onnx_data", ".xml", ".md"}
SHA256 = "sha256"
GIT_SHA1 = "git-sha1"  # of a blob, as git and the hub name files that are not large

_NOT_CODE = frozenset({".md", ".pyc"})
_BLOB = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")  # a file of the hub's cache, named by its SHA-256 or git SHA-1
_REMEMBERED_BYTES = 1 << 20  # smaller files are read as fast as their entry
_SETTLED_S = 2.0  # the coarsest clock of a file system in use
_NUM_THREADS = 4

State = tuple[int, ...]
Digests = Mapping[str, str]  # name inside the folder -> "sha256:..." or "git-sha1:..."


# The hub -------------------------------------------------------------------------------------------------------------


def hub_snapshot(repo_id: str, patterns: Sequence[str], said: str, to_check: str, revision: str | None = None) -> Path:
    """The folder of a hub snapshot with these files in it, as far as there are such; its name is the commit.

    Raises DarkroomError, which begins with `said`, where neither the cache nor the hub has it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise DarkroomError(f"{said} nor to be had from the hub ({first_line(error)}); check {to_check}") from error


# Which files -------------------------------------------------------------------------------------------------------


def files_in(folder: Path, ignored: frozenset[str] = NEVER_READ, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Files below a folder, but for hidden ones, which are notes of other programs, and ignored suffixes.

    Links to folders are followed, as libraries follow them, but not back to a folder that they lie in, one of `above`.
    """
    above |= {os.path.realpath(folder)}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if os.path.realpath(entry.path) not in above:
                    yield from files_in(Path(entry.path), ignored, above)
            elif Path(entry.name).suffix not in ignored and entry.is_file():
                yield Path(entry.path)


def components_of(index: Mapping[str, Any]) -> dict[str, str]:
    """Component -> library that its class comes from, as model_index.json says."""
    pairs = {name: value for name, value in index.items() if isinstance(value, list) and not name.startswith("_")}
    return {name: value[0] for name, value in pairs.items() if len(value) == 2 and isinstance(value[0], str)}


def shaping_files(folder: Path, trusts_code: bool) -> list[str]:
    """Names of the files that pixels depend on, sorted; where the model's code may run, of all files it can read."""
    names = [path.relative_to(folder).as_posix() for path in files_in(folder, frozenset())]
    folders = {path.name for path in folder.iterdir() if path.is_dir()}
    return shaping_names(names, folders, components_of(json.loads((folder / INDEX).read_bytes())), trusts_code)


def shaping_names(names: Iterable[str], folders: Set[str], components: Collection[str], trusts_code: bool) -> list[str]:
    """The same of a folder that is elsewhere. `names`: of all files; `folders`: names of those right in it."""
    ignored = _NOT_CODE if trusts_code else NEVER_READ
    read = [name for name in names if PurePosixPath(name).suffix not in ignored]
    if not trusts_code:
        # Of a component without a folder of its own, diffusers looks for the files in the model's folder itself.
        places = {*components} if {*components} <= folders else {*components, ""}
        read = [name for name in read if name.rpartition("/")[0].split("/")[0] in places]
    return sorted({INDEX, *read}, key=lambda name: name.split("/"))


# A model's digests -------------------------------------------------------------------------------------------------


def folder_digests(folder: Path, trusts_code: bool, skip_blobs: bool = False) -> dict[str, str]:
    """Name -> "sha256:..." of each file that shapes pixels; the hub's blobs have their digest for a name already."""
    names = [name for name in shaping_files(folder, trusts_code) if not (skip_blobs and _blob_digest(folder / name))]
    return dict(zip(names, file_digests(folder / name for name in names), strict=True))


def folder_revision(digests: Digests) -> str:
    """ "sha256:..." over names and bytes of all files that shape pixels, wherever the folder lies."""
    lines = "".join(f"{name}\0{digest.removeprefix(f'{SHA256}:')}\n" for name, digest in digests.items())
    return f"{SHA256}:{hashlib.sha256(lines.encode()).hexdigest()}"


def snapshot_digests(folder: Path, trusts_code: bool, known: Digests) -> dict[str, str]:
    """What the files of a hub snapshot must be: the digests that name its blobs, and `known` ones of other files."""
    wanted = {name: _blob_digest(folder / name) or known.get(name) for name in shaping_files(folder, trusts_code)}
    return {name: digest for name, digest in wanted.items() if digest}


def _blob_digest(path: Path) -> str | None:
    blob = path.resolve()
    if not path.is_symlink() or blob.parent.name != "blobs" or not _BLOB.fullmatch(blob.name):
        return None
    return f"{SHA256 if len(blob.name) == 64 else GIT_SHA1}:{blob.name}"


# Digests of files, remembered --------------------------------------------------------------------------------------


def file_digests(paths: Iterable[Path]) -> list[str]:
    """ "sha256:..." of each file, several at once."""
    with ThreadPoolExecutor(_NUM_THREADS, "digest") as pool:
        return list(pool.map(file_digest, paths))


def file_digest(path: Path, kind: str = SHA256) -> str:
    """ "sha256:..." or "git-sha1:..." of a file's bytes."""
    now = state(path)
    if now[2] < _REMEMBERED_BYTES:
        return f"{kind}:{_read(path, kind)}"
    found = _remembered(path, kind, now)
    if found is None:
        found = _read(path, kind)
        if state(path) == now and time.time_ns() - max(now[3:]) > _SETTLED_S * 1e9:
            _remember(_entry(path, kind), f"{_valid_for(now)}\n{found}")
    return f"{kind}:{found}"


def is_digest_fast(path: Path, kind: str = SHA256) -> bool:
    """Whether `file_digest` reads at most a small file."""
    now = state(path)
    return now[2] < _REMEMBERED_BYTES or _remembered(path, kind, now) is not None


def state(path: Path) -> State:
    """Device, inode, size, mtime and ctime of what a link points to: every write changes one of them."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@cache
def machine_id() -> str:
    """This machine since it was started: numbers of devices and inodes hold no longer, and a home may be shared."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return platform.node().replace("\n", " ")


def _read(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        if kind == SHA256:
            return hashlib.file_digest(file, "sha256").hexdigest()
        whole = hashlib.sha1(f"blob {os.fstat(file.fileno()).st_size}\0".encode(), usedforsecurity=False)
        while part := file.read(1 << 20):
            whole.update(part)
        return whole.hexdigest()


def _entry(path: Path, kind: str) -> Path:
    name = hashlib.sha256(f"{kind}\0{path.resolve()}".encode("utf-8", "surrogateescape")).hexdigest()
    return cache_folder("digests") / name


def _remembered(path: Path, kind: str, now: State) -> str | None:
    with suppress(OSError, ValueError):
        valid_for, found = _entry(path, kind).read_text().split("\n")
        return found if valid_for == _valid_for(now) else None
    return None


def _valid_for(now: State) -> str:
    return " ".join(map(str, (machine_id(), *now)))


def _remember(entry: Path, text: str) -> None:
    """Write an entry whole or not at all; where it cannot be written, the file is read again next time."""
    part = entry.with_name(f"{entry.name}.{os.getpid()}.{time.monotonic_ns()}")
    with suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text)
        part.replace(entry)
