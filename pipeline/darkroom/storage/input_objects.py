"""Objects of an object store that other programs wrote: told by their versions, and read in ranges.

Names are whatever those programs chose. An object that changes while it is read is named, and read no further.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import PreconditionError

from darkroom.domain.errors import DarkroomError
from darkroom.storage.objects import ObjectStore
from darkroom.storage.retry import BUCKET_CODES, NO_CONNECTION, RetryPolicy, read_failure
from darkroom.storage.store import StoreSpec, split_address

if TYPE_CHECKING:
    from obstore import GetOptions

T = TypeVar("T")
_PATIENCE_S = 6.0  # with a server that has never answered; the last pause comes on top
_answered: set[tuple[str, str | None]] = set()  # servers that have, by scheme and endpoint


@dataclass(frozen=True)
class InputObject:
    """An object as it was when it was asked for."""

    key: str
    size_bytes: int
    etag: str  # empty where the store has none
    modified_s: int  # since 1970

    @property
    def version(self) -> tuple[int, str | int]:
        """Another one once it is overwritten."""
        return self.size_bytes, self.etag or self.modified_s


class InputObjects(ObjectStore):
    """A bucket and a prefix in it, for readers alone.

    A server that never answered this process may be no server: a person who mistyped its address is told of it soon.
    """

    def __init__(self, spec: StoreSpec, policy: RetryPolicy | None = None) -> None:
        super().__init__(spec, policy)
        self._since = time.monotonic()

    def find(self, key: str) -> InputObject | None:
        """The object of this very name."""
        return self._call(key, partial(self._found, key))

    def in_folder(self, folder: str) -> list[InputObject]:
        """Those of a folder, without those of folders in it."""
        found = self._call(folder, lambda: obstore.list_with_delimiter(self._client(), folder or None))
        return [_described(meta) for meta in found["objects"]]

    def below(self, folder: str) -> Iterator[InputObject]:
        """Those of a folder and of all folders in it."""
        for page in self._pages(folder):
            yield from map(_described, page)

    def read(self, found: InputObject, start: int, stop: int) -> bytes:
        """Its bytes from `start` to `stop`. Raises DarkroomError where it is another one by now."""
        return self._call(found.key, partial(self._range, found, start, stop))

    def _call(self, key: str, function: Callable[[], T]) -> T:
        value = super()._call(key, function)
        _answered.add(self._server)
        return value

    def _is_transient(self, error: Exception) -> bool:
        may_be_there = self._server in _answered or time.monotonic() - self._since < _PATIENCE_S
        return super()._is_transient(error) and (may_be_there or read_failure(error).code != NO_CONNECTION)

    @property
    def _server(self) -> tuple[str, str | None]:
        return split_address(self.spec.uri)[0], self.spec.endpoint_url

    def _found(self, key: str) -> InputObject | None:
        try:
            return _described(obstore.head(self._client(), key))
        except FileNotFoundError as error:
            if read_failure(error).code in BUCKET_CODES:
                raise
            return None

    def _range(self, found: InputObject, start: int, stop: int) -> bytes:
        options: GetOptions = {"range": (start, stop), "if_match": found.etag or None}
        try:
            reply = obstore.get(self._client(), found.key, options=options)
            if _described(reply.meta).version == found.version:
                return reply.bytes().to_bytes()
        except (PreconditionError, FileNotFoundError):
            pass
        raise DarkroomError(
            f"{self.describe(found.key)}: changed since it was listed; leave it alone while a job reads it, and start "
            "again with the object as it is meant to be"
        )


def folders_of(names: Iterable[str]) -> set[str]:
    """Every folder that a file of these names lies in."""
    parts = [name.split("/") for name in names]
    return {"/".join(each[:depth]) for each in parts for depth in range(1, len(each))}


def _described(meta: Any) -> InputObject:
    return InputObject(meta["path"], meta["size"], meta["e_tag"] or "", int(meta["last_modified"].timestamp()))
