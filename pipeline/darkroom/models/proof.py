"""Proves that a model was loaded from the files that it was named by: digests first, and nothing touched meanwhile.

Who starts a job digests a model's files; who loads it, a minute later or on another machine, looks again.
"""

import platform
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from darkroom.domain.errors import WrongModel
from darkroom.models.digests import State, file_digest, is_known_at_once, state

_NUM_THREADS = 4

Found = TypeVar("Found")
Loaded = TypeVar("Loaded")
Digests = Mapping[str, str]  # name inside the folder -> "sha256:..." or "git-sha1:..."


@dataclass(frozen=True)
class LocalFiles:
    """A model's files on this machine, and what they must be."""

    called: str  # what a command calls it, such as "model.repo_id=sd15"
    folder: Path
    expected: Digests
    find: Callable[[], Iterable[str]]  # names of the files that shape what it makes, as they are now


def proved(files: LocalFiles, load: Callable[[], Loaded]) -> Loaded:
    """What `load` makes of the files. Raises WrongModel where they are others, or change while it reads.

    Small files, code among them, and those whose digest is known are compared before anything is loaded; large ones are
    digested while it loads.
    """
    before = _states(files)
    large = [name for name in before if not _found(files, name, partial(is_known_at_once, kind=_kind(files, name)))]
    _compare(files, (name for name in before if name not in large))
    _check_untouched(files, before)
    with ThreadPoolExecutor(_NUM_THREADS, "prove") as pool:
        compared = [pool.submit(_compare, files, [name]) for name in large]
        try:
            loaded = load()
        finally:  # wrong files say more than what a library made of them
            for future in compared:
                future.result()
            _check_untouched(files, before)
    return loaded


def _states(files: LocalFiles) -> dict[str, State]:
    return {name: _found(files, name, state) for name in files.expected}


def _compare(files: LocalFiles, names: Iterable[str]) -> None:
    for name in names:
        wanted = files.expected[name]
        found = _found(files, name, partial(file_digest, kind=_kind(files, name)))
        if found != wanted:
            raise _wrong(files, name, f"is {_short(found)} and not {_short(wanted)}")


def _kind(files: LocalFiles, name: str) -> str:
    return files.expected[name].partition(":")[0]


def _check_untouched(files: LocalFiles, before: Mapping[str, State]) -> None:
    """Once small files are known to be right, they say which others there may be."""
    for name in sorted(set(files.find()) - files.expected.keys()):
        raise _wrong(files, name, "is one file more")
    for name, now in _states(files).items():
        if now != before[name]:
            raise _wrong(files, name, "was changed while it was loaded")


def _found(files: LocalFiles, name: str, look: Callable[[Path], Found]) -> Found:
    try:
        return look(files.folder / name)
    except OSError as error:
        how = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise _wrong(files, name, how) from None


def _short(digest: str) -> str:
    kind, _, value = digest.partition(":")
    return f"{kind}:{value[:12]}"


def _wrong(files: LocalFiles, name: str, how: str) -> WrongModel:
    return WrongModel(
        f"{files.called}: on {platform.node()}, {name} in {files.folder} {how}: not what this job was started with; "
        "copy the model there anew"
    )
