"""Files that rows of prompts name, read whole: by a path from one place, or by an address of their own; files in a tar
as `shard.tar#name`; those that are to have certain bytes as `name#sha256=<64 hexadecimal digits>`.
"""

import hashlib
import io
import os
import posixpath
import stat
import tarfile
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.storage.store import (
    NotFound,
    Store,
    StoreSpec,
    is_in_object_store,
    is_remote,
    open_store,
    split_address,
)

if TYPE_CHECKING:
    from darkroom.storage.input_objects import InputObject, InputObjects


_HELD = "sha256:"  # before the digest of a file that a row holds itself
_KEPT = "inputs/"  # where a run keeps it
_MEMBER = ".tar#"  # between the name of a tar and that of a file in it
_PINNED = "#sha256="  # between a name and the digest of the bytes that it is to have
_MOST_TAR_BYTES = 2**31
_ONE_TAR = threading.Lock()


class Unreadable(Exception):
    """Why a file cannot be had; another file under its name can be."""


def held_name(data: bytes) -> str:
    """Of a file that a row holds itself: equal for equal bytes."""
    return f"{_HELD}{hashlib.sha256(data).hexdigest()}"


def pinned_name(name: str, sha256: str) -> str:
    """Of a file of these bytes alone."""
    return f"{name}{_PINNED}{sha256}"


def keep(store: Store, name: str, data: bytes) -> None:
    """Put such a file into a run, so that it is there when the row is not."""
    store.put_if_absent(f"{_KEPT}{name.removeprefix(_HELD)}", data)


@dataclass(frozen=True)
class NamedPlace:
    """Where names begin."""

    uri: str = ""  # a folder or an address; empty: names are absolute, or addresses
    endpoint_url: str | None = None  # of the object stores that are named
    kept: StoreSpec | None = None  # the run that keeps files which rows hold themselves

    def address(self, name: str) -> str:
        """A path of this machine, or an address. Raises Unreadable for a name that is neither."""
        if any(ord(sign) < 32 for sign in name):
            raise Unreadable("its name has control characters")
        if name.startswith("file://"):
            return unquote(name.removeprefix("file://"))
        if is_remote(name):
            if not is_in_object_store(name):
                raise Unreadable(f"{name.split('://')[0]}:// is not read from; copy it to a folder or to s3://")
            return name
        path = os.path.expanduser(name)  # noqa: PTH111 - leaves an unknown user's ~
        if os.path.isabs(path):  # noqa: PTH117
            return path
        if not self.uri:
            raise Unreadable("it is a path from no folder; give sampling.images_uri, or an absolute path")
        if not is_remote(self.uri):
            return os.path.join(self.uri, path)  # noqa: PTH118
        scheme, bucket, prefix = split_address(self.uri)
        return f"{scheme}://{bucket}/{posixpath.normpath(posixpath.join(prefix, name))}"

    def read(self, name: str, most_bytes: int) -> bytes:
        """Raises Unreadable for what is not there or too large, and StoreError where the store itself fails."""
        file, is_pinned, sha256 = name.rpartition(_PINNED)
        if not is_pinned:
            return self._read(name, most_bytes)
        data = self._read(file, most_bytes)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Unreadable("its bytes are others than that by now; bring them back")
        return data

    def _read(self, name: str, most_bytes: int) -> bytes:
        if name.startswith(_HELD):
            return self._of_run(name.removeprefix(_HELD))
        before, is_member, member = name.partition(_MEMBER)
        if not is_member:
            return self._whole(self.address(name), most_bytes)
        tar = f"{before}{_MEMBER[:-1]}"
        address = self.address(tar)
        version = self._version(address)
        with _ONE_TAR:  # whose members are wanted one after the other
            data, members = _opened_tar(self, tar, address, version)
        if member not in members:
            raise Unreadable("the tar has no such file")
        start, stop = members[member]
        _check_size(stop - start, most_bytes)
        return data[start:stop]

    def _whole(self, address: str, most_bytes: int) -> bytes:
        if not is_remote(address):
            return _of_disk(address, most_bytes)
        with self._object(address) as (objects, found):
            _check_size(found.size_bytes, most_bytes)
            return objects.read(found, 0, found.size_bytes) if found.size_bytes else b""

    def _version(self, address: str) -> Hashable:
        """Another one once the file is another."""
        if is_remote(address):
            with self._object(address) as (_, found):
                return found.version
        about = _about(address)
        return about.st_ino, about.st_size, about.st_mtime_ns

    @contextmanager
    def _object(self, address: str) -> Iterator[tuple["InputObjects", "InputObject"]]:
        scheme, bucket, key = split_address(address)
        if not bucket or any(part in ("", ".", "..") for part in key.split("/")):
            raise Unreadable(f"{address} is no address of an object; give one without empty, '.' or '..' parts")
        objects = _objects(f"{scheme}://{bucket}", self.endpoint_url)
        try:
            found = objects.find(key)
            if found is None:
                raise Unreadable(f"no such object at {address}")
            yield objects, found
        except DarkroomError as error:  # of a bucket that is not there, or an object that changes as it is read
            raise Unreadable(str(error).replace("output.uri: ", "")) from error

    def _of_run(self, digest: str) -> bytes:
        assert self.kept
        try:
            data = open_store(self.kept).get(f"{_KEPT}{digest}")
        except (NotFound, ValueError):  # the latter of what is no digest
            raise Unreadable(f"its file is not in the run's {_KEPT}") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise Unreadable(f"its file in the run's {_KEPT} is damaged")
        return data


def _of_disk(path: str, most_bytes: int) -> bytes:
    with _readable(path):
        _check_size(_about(path).st_size, most_bytes)
        return Path(path).read_bytes()


def _about(path: str) -> os.stat_result:
    """Of a file: a pipe would be waited for."""
    with _readable(path):
        about = Path(path).stat()
    if not stat.S_ISREG(about.st_mode):
        raise Unreadable("it is no file")
    return about


@contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise Unreadable(f"no such file in {os.path.dirname(path)}") from None  # noqa: PTH120
    except (OSError, ValueError) as error:
        raise Unreadable(f"it cannot be read ({getattr(error, 'strerror', None) or first_line(error)})") from error


@lru_cache(maxsize=2)
def _opened_tar(
    place: NamedPlace, name: str, address: str, version: Hashable
) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """A tar's bytes, and where in them each of its files lies; read again where it has another version."""
    data = place._whole(address, _MOST_TAR_BYTES)
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            files = [each for each in tar if each.isreg()]
    except tarfile.TarError as error:
        raise Unreadable(f"{name} is not readable as a tar ({first_line(error)})") from error
    return data, {each.name: (each.offset_data, each.offset_data + each.size) for each in files}


def _check_size(size_bytes: int, most_bytes: int) -> None:
    if size_bytes > most_bytes:
        raise Unreadable(f"it has {size_bytes} bytes, and at most {most_bytes} are read")


@cache
def _objects(uri: str, endpoint_url: str | None) -> "InputObjects":
    from darkroom.storage.input_objects import InputObjects  # the clouds' client only where it is needed

    return InputObjects(StoreSpec(uri, endpoint_url))
