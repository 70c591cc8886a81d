"""Objects as files in a folder. Knows disks: what is synced when, and which calls are atomic."""

import fcntl
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pipeline.domain.errors import DarkroomError
from pipeline.storage.store import OCTETS, NotFound, ObjectInfo, StoreSpec, check_conditional_puts, check_key

TEMPORARY_PREFIX = ".tmp-"  # never an object: a write that has not ended, or never will
_LOCK_NAME = ".darkroom-lock"


class LocalStore:
    """A folder. Writes go to a synced temporary file first, so a power cut leaves whole objects or none."""

    num_retries = 0

    def __init__(self, spec: StoreSpec) -> None:
        self.spec = spec
        self._root = Path(spec.uri)

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(key) from None

    def put(self, key: str, data: bytes, content_type: str = OCTETS) -> None:
        with self._written(key, data) as temporary:
            temporary.replace(self._path(key))

    def put_if_absent(self, key: str, data: bytes, content_type: str = OCTETS) -> bool:
        """By `link`, which refuses to overwrite; `rename` would not."""
        if self._path(key).exists():
            return False
        with self._written(key, data) as temporary:
            try:
                os.link(temporary, self._path(key))
            except FileExistsError:
                return False
        return True

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
        folder = self._root / prefix.rpartition("/")[0]
        for path in _files(folder):
            key = path.relative_to(self._root).as_posix()
            if key.startswith(prefix):
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    yield ObjectInfo(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def delete(self, keys: Iterable[str]) -> int:
        return sum(self._removed(self._path(key)) for key in keys)

    def describe(self, key: str = "") -> str:
        return str(self._root / key)

    def check(self, writing: bool = True) -> None:
        if not writing:
            return
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            check_conditional_puts(self)
        except FileExistsError:
            raise DarkroomError(f"output.uri: {self._root} is a file; name a folder") from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise DarkroomError(
                f"output.uri: {self._root} cannot be written ({reason}); name a folder on a disk that is writable and "
                "has hard links"
            ) from error

    def temporaries(self) -> Iterator[Path]:
        """Writes that have not ended, or never will."""
        return (Path(folder) / name for folder, name in _walk(self._root) if name.startswith(TEMPORARY_PREFIX))

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @contextmanager
    def _written(self, key: str, data: bytes) -> Iterator[Path]:
        """A synced temporary file beside the key; what the caller does with it is synced as well."""
        folder = self._path(key).parent
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        try:
            _write_synced(temporary, data)
            yield temporary
            _sync_folder(folder)
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One `replace` at a time among all processes of this machine."""
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / _LOCK_NAME).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _removed(path: Path) -> int:
        path.unlink(missing_ok=True)
        return 1


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _files(folder: Path) -> Iterator[Path]:
    return (Path(where) / name for where, name in _walk(folder) if not name.startswith("."))


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    """Every file below a folder, in order of its path."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name + ("/" if entry.is_dir() else ""))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir():
            yield from _walk(Path(entry.path))
        else:
            yield str(folder), entry.name
