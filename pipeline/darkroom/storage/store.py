"""The store protocol: whole objects under keys, put at most once where it matters; addresses and keys, checked."""

import os
import re
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

from darkroom.domain.errors import DarkroomError, EndsRun, credentials_in, has_credentials, redacted

In = TypeVar("In")
Out = TypeVar("Out")

_MAX_KEY, _MAX_SEGMENT = 512, 255  # characters; a disk takes no longer file name
_KEY = re.compile(r"[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*")
_SCHEMES = "s3|gs|az"  # of object stores
_ONE_SLASH = re.compile(rf"({_SCHEMES}|file|https?):/(?!/)")
_URI = re.compile(rf"(?P<scheme>{_SCHEMES})://(?P<bucket>[^/]*)/?(?P<prefix>.*)")
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
_USABLE = "a folder, or s3://bucket/prefix (or gs://, az://)"
OCTETS = "application/octet-stream"
TEMPORARY_PREFIX = ".tmp-"  # of a name: a write or a probe that has not ended, or never will; never an object


class NotFound(KeyError):
    """No object lies under this key."""


class StoreError(OSError):
    """The store failed, and trying again did not help. One line, without a secret."""

    def __init__(self, text: str) -> None:
        super().__init__(redacted(text))


class StoreRefusal(StoreError, EndsRun):
    """It has no room, or gives no right, and refuses every call like this one until a person acts."""


@dataclass(frozen=True)
class StoreSpec:
    """Where a store is. Travels to workers and into logs: it holds no secret."""

    uri: str  # absolute folder, or s3://, gs:// or az://bucket/prefix; Azure calls a bucket a container
    endpoint_url: str | None = None  # of a server that is not the cloud's own

    @property
    def is_remote(self) -> bool:
        return "://" in self.uri


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    key: str
    size_bytes: int
    modified: datetime  # UTC
    version: str = ""  # another one whenever the object was written again; empty: the store does not tell


class Store(Protocol):
    """Objects by key. Every write is atomic: a reader sees all of it or none. Safe for threads; pickles."""

    spec: StoreSpec

    @property
    def num_retries(self) -> int:
        """Calls that had to be made again."""
        ...

    def get(self, key: str) -> bytes:
        """The object's bytes. Raises NotFound."""
        ...

    def get_with_info(self, key: str) -> tuple[bytes, ObjectInfo]:
        """The object's bytes, and what a listing tells of just these. Raises NotFound."""
        ...

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of the object, which has as many. Raises NotFound."""
        ...

    def put(self, key: str, data: bytes, content_type: str = OCTETS) -> None:
        """Write, replacing what is there."""
        ...

    def put_if_absent(self, key: str, data: bytes, content_type: str = OCTETS) -> bool:
        """Write only where nothing is. True when this call's bytes are there, False when another's were first."""
        ...

    def replace(self, key: str, data: bytes, expected: bytes, content_type: str = OCTETS) -> bool:
        """Write only over exactly `expected`. False when the object is different or absent."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Objects whose key starts with the prefix, in order of key."""
        ...

    def delete(self, keys: Iterable[str]) -> int:
        """Remove objects; those that are absent already count too."""
        ...

    def describe(self, key: str = "") -> str:
        """The full address of a key, for people."""
        ...

    def check(self, writing: bool = True) -> None:
        """Try what a run will need. Raises DarkroomError, in one line, where it would fail later."""
        ...

    def filesystem(self) -> "tuple[FileSystem, str]":
        """For readers of Parquet ranges: Arrow's file system, and this store's root in it."""
        ...


def open_store(spec: StoreSpec) -> Store:
    """The store at this address; nothing is read or written yet."""
    if spec.is_remote:
        from darkroom.storage.objects import ObjectStore  # the clouds' client only where it is needed

        return ObjectStore(spec)
    from darkroom.storage.local import LocalStore

    return LocalStore(spec)


def check_slashes(uri: str, setting: str) -> None:
    """Raises DarkroomError for an address that lost a slash, as in a Path: it would be a folder called `s3:`."""
    if found := _ONE_SLASH.match(uri):
        raise DarkroomError(f"{setting}={uri}: an address has two slashes; write {found[1]}://..., as a text")


def is_remote(uri: str) -> bool:
    """Whether it is an address, and no folder of this machine."""
    return "://" in uri and not uri.startswith("file://")


def is_in_object_store(uri: str) -> bool:
    """Whether it is an address of a kind of store that is known here; nothing is asked."""
    return bool(_URI.match(uri))


def endpoint_of_no_store(
    place: str, setting: str = "output.uri", endpoint_setting: str = "output.endpoint_url"
) -> DarkroomError:
    """For an endpoint that is given beside a place that is in no object store."""
    said = f"{endpoint_setting} is for an object store, and {setting} is {place}"
    return DarkroomError(f"{said}; leave it out, or give s3://bucket/prefix")


def parse_spec(uri: str, endpoint_url: str | None = None) -> StoreSpec:
    """A store's address, absolute and checked as far as that needs no request."""
    if not uri.strip():
        raise DarkroomError(f"output.uri is empty; use {_USABLE}")
    if "\0" in uri:
        raise DarkroomError(f"output.uri={uri!r}: no address has a null character; leave it out")
    check_slashes(uri, "output.uri")
    if not is_remote(uri):
        folder = _file_path(uri) if uri.startswith("file://") else os.path.realpath(_at_home(uri))
        if endpoint_url:
            raise endpoint_of_no_store(f"the folder {folder}")
        return StoreSpec(folder)
    match = _URI.fullmatch(uri)
    if not match:
        raise DarkroomError(f"output.uri: {uri.split('://')[0]}:// is not known here; use {_USABLE}")
    if "@" in uri or ":" in match["bucket"] or has_credentials(uri):
        raise credentials_in("output.uri")
    scheme, bucket, prefix = match["scheme"], match["bucket"], match["prefix"].strip("/")
    if not bucket:
        raise DarkroomError(f"output.uri: {scheme}:// without a bucket; write {scheme}://bucket/prefix")
    if not _BUCKET.fullmatch(bucket) or (prefix and not _is_plain(prefix)):
        raise DarkroomError(
            f"output.uri: {uri!r} is no usable address; write {scheme}://bucket/prefix without empty, '.' or '..' parts"
        )
    return StoreSpec(f"{scheme}://{bucket}/{prefix}".rstrip("/"), checked_endpoint(endpoint_url))


def _at_home(uri: str) -> Path:
    try:
        return Path(uri).expanduser()
    except RuntimeError:
        raise DarkroomError(f"output.uri: {uri}: no home folder of that user; name the folder itself") from None


def _file_path(uri: str) -> str:
    path = Path(unquote(uri.removeprefix("file://")))
    if not path.is_absolute():
        raise DarkroomError("output.uri: a file:// address has three slashes; write file:///folder")
    return os.path.realpath(path)


def checked_endpoint(url: str | None, setting: str = "output.endpoint_url") -> str | None:
    """An address that `setting` gave. Refused without being repeated: what is wrong with it may be a password in it."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if "@" in url:
        raise credentials_in(setting)
    if not usable or parts.query or parts.fragment:
        raise DarkroomError(f"{setting}: no usable address; write it like http://127.0.0.1:4566")
    return url.rstrip("/")


def split_address(uri: str) -> tuple[str, str, str]:
    """(scheme, bucket, prefix without slashes at its ends) of a checked address that is no folder."""
    match = _URI.fullmatch(uri)
    assert match
    return match["scheme"], match["bucket"], match["prefix"].strip("/")


def check_key(key: str) -> str:
    """The key. Raises ValueError: keys are never a user's words, but a record that was tampered with names one too."""
    if not (_KEY.fullmatch(key) and len(key) <= _MAX_KEY and _is_plain(key)):
        raise ValueError(f"{key[:_MAX_KEY]!r} is not a key")
    return key


def check_prefix(prefix: str) -> str:
    """The start of a key: all of one, but for an end that is missing."""
    check_key(f"{prefix}x")
    return prefix


def is_listed(key: str) -> bool:
    """Whether a name found in a store is an object: not hidden, and one that `check_key` takes."""
    hidden = key.startswith(".") or "/." in key
    return not hidden and len(key) <= _MAX_KEY and bool(_KEY.fullmatch(key)) and _is_plain(key)


def _is_plain(path: str) -> bool:
    return all(segment not in ("", ".", "..") and len(segment) <= _MAX_SEGMENT for segment in path.split("/"))


def check_conditional_puts(store: Store) -> None:
    """Refuse a store that overwrites where it was told not to: exactly-once would be an empty word there."""
    with scratch_key(store) as key:
        first, second = store.put_if_absent(key, b"first"), store.put_if_absent(key, b"second")
        if (first, second, store.get(key)) != (True, False, b"first"):
            raise ignores_conditions(store, "If-None-Match")
        if not store.replace(key, b"third", expected=b"first") or store.replace(key, b"fourth", expected=b"first"):
            raise ignores_conditions(store, "If-Match")


@contextmanager
def scratch_key(store: Store) -> Iterator[str]:
    """A key to try things with, one for each caller: many jobs may check a store at once.

    An interrupt leaves the object there, under a hidden name, since the store may be what hangs.
    """
    key = f"{TEMPORARY_PREFIX}probe-{uuid.uuid4().hex}"
    try:
        yield key
    except Exception:
        _remove_scratch(store, key)
        raise
    _remove_scratch(store, key)


def _remove_scratch(store: Store, key: str) -> None:
    with suppress(OSError):  # a right to delete is not needed to render
        store.delete([key])


def ignores_conditions(store: Store, header: str) -> DarkroomError:
    return DarkroomError(
        f"output.uri: {store.describe()}: this store ignores conditional puts ({header}), so it cannot keep an image "
        "from being written twice; use one that honours them, such as Amazon S3, or a local folder"
    )


def prefetched(
    items: Iterable[In],
    read: Callable[[In], Out],
    num_threads: int = 8,
    size: Callable[[In], int] = lambda _: 1,
    waits: bool = False,
) -> Iterator[Out]:
    """`read` of each item, in order, with a few calls under way at a time: a store far away answers each after a while.

    `size`: of what is read, as a multiple of what is usual; of what is large less is read ahead. Who stops early, as by
    Ctrl-C, does not wait for those; with `waits`, where calls write, for those that have begun.
    """
    waiting: deque[tuple[Future[Out], int]] = deque()
    total = 0
    pool = ThreadPoolExecutor(num_threads, "read")
    try:
        for item in items:
            waiting.append((pool.submit(read, item), size(item)))
            total += waiting[-1][1]
            while total > 2 * num_threads and waiting:
                future, num = waiting.popleft()
                total -= num
                yield future.result()
        while waiting:
            yield waiting.popleft()[0].result()
    finally:
        pool.shutdown(wait=waits, cancel_futures=True)
