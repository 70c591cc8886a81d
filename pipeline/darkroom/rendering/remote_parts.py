"""Parts that lie in an object store, such as s3://bucket/loras/ink.safetensors: copied to this machine's cache once.

A copy is named by its address and by the version that the store says is there now, its ETag and size. It is made whole
or not at all, by one process at a time, and used as long as its digests are those that it was written with. Each
machine makes its own; what it is to be is proved where it is loaded, as of any file (`loading.py`).
"""

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp

from pyarrow import NativeFile, fs

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.domain.machine import cache_folder
from darkroom.rendering.model_files import file_digests
from darkroom.storage.disk import locked
from darkroom.storage.input_files import InputFile, state_of
from darkroom.storage.scanning import Place, locate
from darkroom.storage.store import StoreError

_DIGESTS = ".darkroom.json"  # of each file of a copy, by its name; written last
_UNFINISHED = ".copying-"
_WAIT_S = 3600.0  # for another process that copies the same
_CHUNK_BYTES = 8 << 20


@dataclass(frozen=True)
class StoredPart:
    """What lies at an address: an object, or the objects of a folder, without those of folders in it."""

    setting: str  # that gave the address, for errors
    place: Place
    is_file: bool
    names: Sequence[str]

    def copied(self, names: Iterable[str]) -> Path:
        """The folder of this machine where these lie as they are there now."""
        return _copy([self._file(name) for name in names], self.setting)

    def _file(self, name: str) -> InputFile:
        path = self.place.path if self.is_file else f"{self.place.path}/{name}"
        with self.place.reaching():
            state = state_of(self.place.filesystem, path, has_etag=True)
        return InputFile(self.place.name(path), self.place.filesystem, path, state)


def stored_part(uri: str, setting: str) -> StoredPart:
    """Raises DarkroomError, in one line, where nothing lies there, or it cannot be reached."""
    place = locate(uri.rstrip("/"), None, setting, "AWS_ENDPOINT_URL")
    kind = place.type
    if kind == fs.FileType.NotFound:
        raise DarkroomError(f"{setting}={uri}: nothing lies there; check the address, or copy it there")
    if kind == fs.FileType.File:
        return StoredPart(setting, place, True, [_name(place.path)])
    with place.reaching():
        found = place.filesystem.get_file_info(fs.FileSelector(place.path))
    return StoredPart(
        setting, place, False, sorted(_name(info.path) for info in found if info.type == fs.FileType.File)
    )


def _name(path: str) -> str:
    return PurePosixPath(path).name


def _copy(files: Sequence[InputFile], setting: str) -> Path:
    versions = [(file.path, file.state.size_bytes, file.state.etag or file.state.mtime_ns) for file in files]
    folder = cache_folder("parts") / digest("part", *versions)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not _is_whole(folder):
            with locked(folder.with_name(f"{folder.name}.lock"), _WAIT_S):
                if not _is_whole(folder):
                    _make(files, folder)
    except StoreError as error:
        raise DarkroomError(f"{setting}: {error}") from error
    except OSError as error:
        raise DarkroomError(
            f"{setting}: {files[0].name} cannot be copied to {folder.parent} ({error.strerror}); make room there and "
            "make it writable, or name another cache as XDG_CACHE_HOME"
        ) from error
    return folder


def _make(files: Iterable[InputFile], folder: Path) -> None:
    """In a folder beside, which is renamed at the end."""
    for left in folder.parent.glob(f"{_UNFINISHED}{folder.name}-*"):  # by who held the lock before, and was killed
        shutil.rmtree(left, ignore_errors=True)
    unfinished = Path(mkdtemp(prefix=f"{_UNFINISHED}{folder.name}-", dir=folder.parent))
    try:
        for file in files:
            _download(file, unfinished / _name(file.path))
        (unfinished / _DIGESTS).write_text(json.dumps(_digests(unfinished)))
        unfinished.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)  # what is no longer as it was written
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _download(file: InputFile, to: Path) -> None:
    with file.reading():
        source = file.open_file()
    with to.open("xb") as target, source:
        while chunk := _read(file, source):
            target.write(chunk)
        target.flush()
        os.fsync(target.fileno())
    file.check_unchanged()
    if (size := to.stat().st_size) != file.state.size_bytes:
        raise DarkroomError(f"{file.name}: {size} of its {file.state.size_bytes} bytes came; give the command again")


def _read(file: InputFile, source: NativeFile) -> bytes:
    with file.reading():
        return bytes(source.read(_CHUNK_BYTES))


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.name != _DIGESTS)
    return dict(zip((path.name for path in files), file_digests(files), strict=True))


def _is_whole(folder: Path) -> bool:
    """Whether every file is as it was written. Digests are remembered, so that this seldom reads them."""
    try:
        return bool(json.loads((folder / _DIGESTS).read_bytes()) == _digests(folder))
    except (OSError, ValueError):
        return False
