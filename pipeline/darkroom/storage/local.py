"""Objects as files in a folder: what is synced when, which calls are atomic, and where links would lead.

The folder itself may be a link, or lie behind one. Below it no link to a folder is followed, neither to read nor to
write: what lies behind it is not the store's. A link to a file is read as that file, and replaced or removed itself.
"""

import errno
import os
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.domain.process import cache_folder
from darkroom.storage.disk import files_below, is_abandoned, leads_out, link, locked, sync_folder, synced, walk_unlinked
from darkroom.storage.store import (
    OCTETS,
    TEMPORARY_PREFIX,
    NotFound,
    ObjectInfo,
    StoreError,
    StoreRefusal,
    StoreSpec,
    check_conditional_puts,
    check_key,
    check_prefix,
    is_listed,
)

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSALS = {
    **dict.fromkeys(_NO_ROOM, "make room there"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable"),
}
_LOCK_NAME = ".darkroom-lock"


class LocalStore:
    """A folder. Writes go to a synced temporary file first, so a power cut leaves whole objects or none."""

    def __init__(self, spec: StoreSpec) -> None:
        self.spec = spec
        self._root = Path(spec.uri)
        self._synced: set[Path] = set()  # folders whose own names this process has made to last
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return LocalStore, (self.spec,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalStore) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(self.spec)

    @property
    def num_retries(self) -> int:
        return 0

    def get(self, key: str) -> bytes:
        with self._opened(key) as file:
            return file.read()

    def get_with_info(self, key: str) -> tuple[bytes, ObjectInfo]:
        with self._opened(key) as file:
            return file.read(), _info(key, os.fstat(file.fileno()))

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        with self._opened(key) as file:
            file.seek(start)
            return file.read(stop - start)

    def put(self, key: str, data: bytes, content_type: str = OCTETS) -> None:
        with self._written(key, data) as temporary:
            temporary.replace(self._path(key))

    def put_if_absent(self, key: str, data: bytes, content_type: str = OCTETS) -> bool:
        """By `link`, which refuses to overwrite; `rename` would not.

        Who comes second syncs the folder too: the image it adopts must outlast a power cut as its manifest does.
        """
        path = self._path(key)
        if path.exists():
            self._make_folder(path.parent)
            sync_folder(path.parent)
            return False
        with self._written(key, data) as temporary:
            return link(temporary, path)

    def replace(self, key: str, data: bytes, expected: bytes, content_type: str = OCTETS) -> bool:
        with self._locked():
            try:
                if self.get(key) != expected:
                    return False
            except NotFound:
                return False
            self.put(key, data)
            return True

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        start = len(f"{self._root}/")
        for path in files_below(self._inside(f"{check_prefix(prefix)}x").parent):
            key = path[start:]
            if key.startswith(prefix) and is_listed(key):
                with suppress(FileNotFoundError):
                    yield _info(key, os.stat(path))  # noqa: PTH116 - of millions, a Path costs more than the call

    def delete(self, keys: Iterable[str]) -> int:
        return sum(self._removed(self._path(key)) for key in keys)

    def describe(self, key: str = "") -> str:
        return str(self._root / key)

    def check(self, writing: bool = True) -> None:
        try:
            if self._root.is_file():
                raise DarkroomError(f"output.uri: {self._root} is a file; name a folder")
            if not writing:
                return self._check_readable()
            self._root.mkdir(parents=True, exist_ok=True)
            check_conditional_puts(self)
        except StoreError as error:
            kind = TryAgain if error.errno in _NO_ROOM else DarkroomError
            raise kind(f"output.uri: {error}") from None
        except OSError as error:
            verb, remedy = ("written", "make it writable") if writing else ("read", "ask its owner for the right to")
            raise DarkroomError(
                f"output.uri: {self._root} cannot be {verb} ({error.strerror}); {remedy}, or name another folder"
            ) from error
        return None

    def filesystem(self) -> "tuple[FileSystem, str]":
        from pyarrow.fs import LocalFileSystem

        return LocalFileSystem(), str(self._root)

    def temporaries(self) -> Iterator[Path]:
        """Writes that have not ended, or never will."""
        found = walk_unlinked(self._root, lambda _: None)
        return (Path(folder) / name for folder, name in found if name.startswith(TEMPORARY_PREFIX))

    def remove_abandoned(self) -> int:
        """Remove writes that will never end, since their processes have."""
        return sum(self._removed(path) for path in self.temporaries() if is_abandoned(path))

    @contextmanager
    def _opened(self, key: str) -> Iterator[BinaryIO]:
        try:
            with self._path(key).open("rb") as file:
                yield file
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(key) from None

    def _path(self, key: str) -> Path:
        return self._inside(check_key(key))

    def _inside(self, key: str) -> Path:
        """Raises DarkroomError where a folder on the way to it is a link."""
        *folders, name = key.split("/")
        place = self._root
        for folder in folders:
            place /= folder
            if place.is_symlink():
                raise leads_out(place)
        return place / name

    @contextmanager
    def _written(self, key: str, data: bytes) -> Iterator[Path]:
        """A synced temporary file beside the key; what the caller does with it is synced as well."""
        folder = self._path(key).parent
        temporary = folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        try:
            self._make_folder(folder)
            with synced(temporary, data):
                yield temporary
            sync_folder(folder)
        except OSError as error:
            if isinstance(error, StoreError) or error.errno not in _REFUSALS:
                raise
            refusal = StoreRefusal(f"{folder}: {error.strerror}; {_REFUSALS[error.errno]}")
            refusal.errno = error.errno
            raise refusal from None
        finally:
            temporary.unlink(missing_ok=True)

    def _make_folder(self, folder: Path) -> None:
        """A folder whose name, and the names of those above it in the store, outlast a power cut."""
        if folder in self._synced and folder.is_dir():
            return
        folder.mkdir(parents=True, exist_ok=True)
        inside = [parent for parent in folder.parents if parent.is_relative_to(self._root.parent)]
        for parent in inside:
            with suppress(PermissionError):  # the root's own parent may be closed to us; then it was there before
                sync_folder(parent)
        with self._lock:
            self._synced.add(folder)

    def _check_readable(self) -> None:
        if not self._root.is_dir():
            raise DarkroomError(f"output.uri: {self._root} does not exist; name the folder of a run")
        if not os.access(self._root, os.R_OK | os.X_OK):
            raise DarkroomError(f"output.uri: {self._root} cannot be read; ask its owner for the right to")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One `replace` at a time among all processes of this machine."""
        self._root.mkdir(parents=True, exist_ok=True)
        with locked(self._root / _LOCK_NAME):
            yield

    @staticmethod
    def _removed(path: Path) -> int:
        with suppress(NotADirectoryError):
            path.unlink(missing_ok=True)
        return 1


def user_cache(name: str) -> LocalStore:
    """A part of the user's cache, by its name."""
    return LocalStore(StoreSpec(str(cache_folder(name))))


def _info(key: str, stat: os.stat_result) -> ObjectInfo:
    """A file that replaces another one was written beside it, so that it has another number on the disk."""
    version = f"{stat.st_mtime_ns:x}-{stat.st_size:x}-{stat.st_ino:x}"
    return ObjectInfo(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC), version)
