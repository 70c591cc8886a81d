"""The store protocol: whole objects under keys, put at most once where it matters. Knows no cloud and no disk."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pipeline.domain.errors import DarkroomError

_KEY = re.compile(r"[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*")
_S3_URI = re.compile(r"s3://(?P<bucket>[^/]*)/?(?P<prefix>.*)")
OCTETS = "application/octet-stream"
PROBE_KEY = ".darkroom-probe"


class NotFound(KeyError):
    """No object lies under this key."""


@dataclass(frozen=True)
class StoreSpec:
    """Where a store is. Travels to workers and into logs: it holds no secret."""

    uri: str  # absolute folder, or s3://bucket/prefix
    endpoint_url: str | None = None  # of an S3 that is not Amazon's


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    key: str
    size_bytes: int
    modified: datetime  # UTC


class Store(Protocol):
    """Objects by key. Every write is atomic: a reader sees all of an object or none of it. Safe for threads."""

    spec: StoreSpec

    @property
    def num_retries(self) -> int:
        """Calls that had to be made again."""
        ...

    def get(self, key: str) -> bytes:
        """The object's bytes. Raises NotFound."""
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


def parse_spec(uri: str, endpoint_url: str | None = None) -> StoreSpec:
    """A store's address, absolute and checked for what can be checked without a look at it."""
    if "://" not in uri:
        return StoreSpec(str(Path(uri).expanduser().resolve()))
    if uri.startswith("file://"):
        return StoreSpec(str(Path(uri.removeprefix("file://")).resolve()))
    match = _S3_URI.fullmatch(uri)
    if not match:
        raise DarkroomError(
            f"output.uri: {uri.split('://')[0]}:// is not known here; use a folder or s3://bucket/prefix"
        )
    if "@" in match["bucket"] or ":" in match["bucket"]:
        raise DarkroomError(
            "output.uri: credentials in an address end up in logs; take them out of it and use the environment, "
            "~/.aws or an instance role"
        )
    if not match["bucket"]:
        raise DarkroomError("output.uri: s3:// without a bucket; write s3://bucket/prefix")
    return StoreSpec(f"s3://{match['bucket']}/{match['prefix'].strip('/')}".rstrip("/"), endpoint_url)


def split_s3(uri: str) -> tuple[str, str]:
    """(bucket, prefix without slashes at its ends) of a checked s3 address."""
    match = _S3_URI.fullmatch(uri)
    assert match
    return match["bucket"], match["prefix"].strip("/")


def check_key(key: str) -> str:
    """Keys are ours, never a user's words; one that could leave the run's prefix is our own mistake."""
    assert _KEY.fullmatch(key), key
    assert ".." not in key.split("/"), key
    assert len(key) <= 512, key
    return key


def open_store(spec: StoreSpec) -> Store:
    """The store at this address; nothing is read or written yet."""
    if spec.uri.startswith("s3://"):
        from pipeline.storage.s3 import S3Store

        return S3Store(spec)
    from pipeline.storage.local import LocalStore

    return LocalStore(spec)


def check_conditional_puts(store: Store) -> None:
    """Refuse a store that overwrites where it was told not to: exactly-once would be an empty word there."""
    try:
        store.delete([PROBE_KEY])
        first, second = store.put_if_absent(PROBE_KEY, b"first"), store.put_if_absent(PROBE_KEY, b"second")
        kept = store.get(PROBE_KEY)
        swapped, stale = store.replace(PROBE_KEY, b"third", b"first"), store.replace(PROBE_KEY, b"fourth", b"first")
    finally:
        store.delete([PROBE_KEY])
    if (first, second, kept, swapped, stale) != (True, False, b"first", True, False):
        raise DarkroomError(
            f"{store.describe()}: this store ignores conditional puts (If-None-Match, If-Match), so it cannot keep "
            "an image from being written twice; use one that honours them, such as Amazon S3, or a local folder"
        )
