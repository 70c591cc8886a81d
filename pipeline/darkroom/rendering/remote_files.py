"""Files that lie in an object store, such as s3://bucket/sd15 or s3://bucket/loras/ink.safetensors: copied to this
machine's cache once.

A copy is named by the addresses of its files and by the versions that the store says are there now, their ETags and
sizes. It grows file by file, by one process at a time; one that is killed lets go of the lock, and the next goes on
where it ended. A file counts once its digest is noted, and as long as that is its digest. Each machine makes its own
copy; what it is to be is proved where it is loaded, as of any file (`loading.py`).
"""

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.domain.identity import digest
from darkroom.domain.process import cache_folder
from darkroom.domain.progress import CopyProgress, readable_bytes
from darkroom.rendering.model_files import INDEX, components_of, file_digests, machine_id, shaping_names
from darkroom.rendering.stored_tensors import SAFETENSORS
from darkroom.storage.disk import locked
from darkroom.storage.input_objects import InputObject, InputObjects, folders_of
from darkroom.storage.store import StoreError, StoreRefusal, parse_spec, prefetched

_DIGESTS = ".darkroom.json"  # of each file of a copy that is whole, by its name
_WAIT_S = 24 * 3600.0  # for another process that copies the same
_RANGE_BYTES = 8 << 20  # a request


@dataclass(frozen=True)
class RemoteFiles:
    """What lies at an address: an object, or the objects of a folder."""

    setting: str  # that gave the address, for errors
    uri: str  # of the folder
    store: InputObjects  # the folder
    found: Mapping[str, InputObject]  # by name in the folder
    is_file: bool

    @property
    def names(self) -> Sequence[str]:
        return list(self.found)

    def read(self, name: str) -> bytes:
        with self._explained():
            return self.store.read(self.found[name], 0, self.found[name].size_bytes)

    def copied(self, names: Sequence[str], needed: Collection[str] | None = None) -> Path:
        """The folder of this machine where these lie as they are there now; `needed`: all that must be there yet."""
        versions = [(f"{self.uri}/{name}", *self.found[name].version) for name in names]
        folder = cache_folder("remote") / digest("copy", *versions)
        needed = names if needed is None else needed
        try:
            with self._explained():
                if _missing(folder, needed):
                    folder.mkdir(parents=True, exist_ok=True)
                    with locked(folder.with_name(f"{folder.name}.lock"), _WAIT_S):
                        self._copy(_missing(folder, needed), folder)
        except OSError as error:
            raise DarkroomError(
                f"{self.setting}: {self.uri} cannot be copied to {folder.parent} ({error.strerror}); make room there "
                "and make it writable, or name another cache as XDG_CACHE_HOME"
            ) from error
        return folder

    def _copy(self, names: Sequence[str], folder: Path) -> None:
        parts = {name: folder / f".{digest(name, machine_id())}.part" for name in names}
        for left in set(folder.glob(".*.part")) - set(parts.values()):  # of a machine that was started anew
            left.unlink()
        sizes = {name: self.found[name].size_bytes for name in names}
        have = sum(part.stat().st_size for part in parts.values() if part.exists())
        progress = CopyProgress(self.uri, sum(sizes.values()), have)
        self._check_room(folder, sum(sizes.values()) - have)
        for name, part in parts.items():
            self._download(self.found[name], part, progress)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            part.replace(folder / name)
            _note(folder, name)
        progress.end()

    def _check_room(self, folder: Path, num_bytes: int) -> None:
        free = shutil.disk_usage(folder).free
        if free < num_bytes:
            raise DarkroomError(
                f"{self.setting}: {self.uri} needs {readable_bytes(num_bytes)} in {folder.parent}, which has room for "
                f"{readable_bytes(free)}; make room there, or name another cache as XDG_CACHE_HOME"
            )

    def _download(self, found: InputObject, part: Path, progress: CopyProgress) -> None:
        """Whole, in `part`. What is in it was written in order since this machine was started, so that it is a
        beginning of the object."""
        with part.open("ab") as target:
            starts = range(target.tell(), found.size_bytes, _RANGE_BYTES)
            stops = (min(start + _RANGE_BYTES, found.size_bytes) for start in starts)
            for data in prefetched(zip(starts, stops, strict=True), lambda each: self.store.read(found, *each)):
                target.write(data)
                progress.add(len(data))
            target.flush()
            os.fsync(target.fileno())
            size = target.tell()
        if size != found.size_bytes:
            part.unlink()
            raise DarkroomError(
                f"{self.store.describe(found.key)}: {size} of its {found.size_bytes} bytes came; give the command again"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with _explained(self.setting):
            yield


# What was copied ------------------------------------------------------------------------------------------------------


def _missing(folder: Path, names: Collection[str]) -> list[str]:
    """Those that are not there as they were written. Digests are remembered, so that this seldom reads them."""
    noted = _noted(folder)
    there = [name for name in names if name in noted and (folder / name).is_file()]
    digests = dict(zip(there, file_digests(folder / name for name in there), strict=True))
    return [name for name in names if name not in noted or digests.get(name) != noted[name]]


def _noted(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / _DIGESTS).read_bytes()))
    except (OSError, ValueError):
        return {}


def _note(folder: Path, name: str) -> None:
    noted = _noted(folder) | dict(zip([name], file_digests([folder / name]), strict=True))
    new = folder / f"{_DIGESTS}.new"
    new.write_text(json.dumps(noted), "utf-8")
    new.replace(folder / _DIGESTS)


# What is at an address ------------------------------------------------------------------------------------------------


def remote_files(uri: str, setting: str, is_deep: bool = False) -> RemoteFiles:
    """Raises DarkroomError, in one line, where nothing lies there, or it cannot be reached. `is_deep`: of a folder, the
    files of folders in it too, by their names with those folders."""
    uri = uri.rstrip("/")
    with _explained(setting):
        spec = parse_spec(uri)
        if not spec.is_remote:
            raise DarkroomError(f"{setting}={uri}: no address in an object store; give s3://bucket/...")
        one, refusal = _object_at(spec.uri, setting)
        if one:
            return one
        folder = InputObjects(spec)
        found = {each.key: each for each in (folder.below("") if is_deep else folder.in_folder(""))}
        for marker in {"", *folders_of(found)}:  # of an empty folder, as consoles make them
            found.pop(marker, None)
        if not found and refusal:
            raise refusal
    if not found:
        raise DarkroomError(f"{setting}={uri}: nothing lies there; check the address, or copy it there")
    return RemoteFiles(setting, spec.uri, folder, dict(sorted(found.items())), is_file=False)


def _object_at(uri: str, setting: str) -> tuple[RemoteFiles | None, StoreRefusal | None]:
    """The object of this very name; or why it is not known: who may list a folder alone is refused where none is."""
    above, _, name = uri.rpartition("/")
    if above.endswith("/"):  # a bucket itself
        return None, None
    folder = InputObjects(parse_spec(above))
    try:
        found = folder.find(name)
    except StoreRefusal as refusal:
        return None, refusal
    return (RemoteFiles(setting, above, folder, {name: found}, is_file=True) if found else None), None


@contextmanager
def _explained(setting: str) -> Iterator[None]:
    """Turn what a store says, which speaks of where a run goes, into a line that names the setting."""
    try:
        yield
    except (StoreError, DarkroomError) as error:
        text = str(error).replace("output.endpoint_url", "AWS_ENDPOINT_URL").replace("output.uri", setting)
        is_refused = isinstance(error, StoreRefusal) or not isinstance(error, StoreError)
        kind = DarkroomError if is_refused else TryAgain
        raise kind(text if text.startswith(setting) else f"{setting}: {text}") from error


# Whole models ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RemoteModel:
    """A model in diffusers' layout."""

    files: RemoteFiles
    shaping: Sequence[str]  # names of the files that pixels depend on

    @property
    def names(self) -> Sequence[str]:
        """Of all files, but for hidden ones."""
        return _seen(self.files.names)

    def small(self) -> Path:
        """The folder of this machine with all of these but weights."""
        return self.files.copied(self.shaping, [name for name in self.shaping if not name.endswith(SAFETENSORS)])

    def whole(self) -> Path:
        return self.files.copied(self.shaping)


def remote_model(uri: str, setting: str, trusts_code: bool = False) -> RemoteModel:
    """Raises DarkroomError, in one line, where there is none."""
    files = remote_files(uri, setting, is_deep=True)
    if files.is_file:
        raise DarkroomError(
            f"{setting}={uri}: one file, and no folder in diffusers' layout; give a checkpoint of one file as "
            "model.single_file"
        )
    if INDEX not in files.found:
        raise DarkroomError(f"{setting}={uri}: no {INDEX} there; give a model in diffusers' layout")
    names = _seen(files.names)
    return RemoteModel(files, shaping_names(names, folders_of(names), _components(files), trusts_code))


def _components(files: RemoteFiles) -> Collection[str]:
    try:
        return components_of(json.loads(files.read(INDEX)))
    except (ValueError, AttributeError) as error:
        raise DarkroomError(f"{files.setting}={files.uri}: {INDEX} is not JSON ({error}); copy it anew") from None


def _seen(names: Sequence[str]) -> list[str]:
    return [name for name in names if not any(part.startswith(".") for part in PurePosixPath(name).parts)]
