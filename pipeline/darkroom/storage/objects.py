"""Objects in S3, Google Cloud Storage or Azure Blob Storage: one class, told apart by the address.

A conditional put carries the id of its attempt in the object's metadata. Where the store refuses it, the object that is
there says whose it is: a lost reply does not hide this attempt's success, and no error code needs to be trusted.
"""

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.storage.clouds import Client, arrow_filesystem, bucket_region, open_client, server_of
from darkroom.storage.retry import REGION_CODES, Conflict, CredentialsError, Retrier, RetryPolicy, advice, read_failure
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
    ignores_conditions,
    is_listed,
    scratch_key,
    split_address,
)

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode, UpdateVersion
    from pyarrow.fs import FileSystem

T = TypeVar("T")
_FAILURES = (BaseError, FileNotFoundError, NotImplementedError, CredentialsError, Conflict)
_REFUSED = (AlreadyExistsError, PreconditionError)
_ATTEMPT = "attempt"  # metadata key: the attempt that wrote the object
_NO_VERSION: "UpdateVersion" = {"e_tag": f'"{"0" * 32}"', "version": "1"}  # of no object
_AT_ONCE = 1000  # keys a call to list or delete, S3's own limit
_SMALL_BYTES = 8 << 20  # a body that can be sent within one read timeout
_using_process = 0  # the process that has made requests: its threads do not outlive a fork


class ObjectStore:
    """A bucket and a prefix in it. Pickles to its address; the client is made where it is used."""

    def __init__(self, spec: StoreSpec, policy: RetryPolicy | None = None) -> None:
        self.spec = spec
        self._policy = policy or RetryPolicy()
        self._scheme = split_address(spec.uri)[0]
        self._retrier = Retrier(self._is_transient, self._policy)
        self._lock = threading.Lock()
        self._clients: dict[float, Client] = {}  # by read timeout
        self._region: str | None = None  # the bucket's, where the settings named another one
        self._region_since = 0.0

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return ObjectStore, (self.spec, self._policy)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectStore) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(self.spec)

    @property
    def num_retries(self) -> int:
        return self._retrier.num_retries

    def get(self, key: str) -> bytes:
        return self._read(key)[0]

    def get_with_info(self, key: str) -> tuple[bytes, ObjectInfo]:
        data, meta = self._read(key)
        return data, _info(key, meta)

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        path = check_key(key)
        return self._call(key, lambda: _read_range(self._client(), path, start, stop))

    def put(self, key: str, data: bytes, content_type: str = OCTETS) -> None:
        self._call(key, partial(self._put, key, data, content_type, "overwrite"))

    def put_if_absent(self, key: str, data: bytes, content_type: str = OCTETS) -> bool:
        return self._put_conditionally(key, data, content_type, "create")

    def replace(self, key: str, data: bytes, expected: bytes, content_type: str = OCTETS) -> bool:
        try:
            present, meta = self._read(key)
        except NotFound:
            return False
        return present == expected and self._put_conditionally(key, data, content_type, _version(meta))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """The marker of an empty folder, as consoles make them, counts as an object of that name without a byte.

        Raises StoreRefusal where a foreign object's name has an empty, '.' or '..' part: the client cannot list those.
        """
        for page in self._pages(check_prefix(prefix).rpartition("/")[0]):
            for found in page:
                key = found["path"]
                if key.startswith(prefix) and is_listed(key):
                    yield _info(key, found)

    def delete(self, keys: Iterable[str]) -> int:
        count, remaining = 0, map(check_key, keys)
        while chunk := list(islice(remaining, _AT_ONCE)):
            self._call("", partial(self._delete, chunk))
            count += len(chunk)
        return count

    def describe(self, key: str = "") -> str:
        return f"{self.spec.uri}/{key}".rstrip("/")

    def check(self, writing: bool = True) -> None:
        """Bucket, rights and conditional puts, with little patience: a person is waiting."""
        hasty = ObjectStore(self.spec, RetryPolicy(deadline_s=3.0, connect_timeout_s=3.0, read_timeout_s=10.0))
        try:
            next(hasty.list(f"{TEMPORARY_PREFIX}probe/"), None)
            if writing:
                check_conditional_puts(hasty)
                hasty._check_if_match()
        except StoreRefusal as error:
            raise DarkroomError(f"output.uri: {error}") from None
        except StoreError as error:
            raise TryAgain(f"output.uri: {error}") from None

    def filesystem(self) -> "tuple[FileSystem, str]":
        return arrow_filesystem(self.spec)

    def _check_if_match(self) -> None:
        """`replace` compares before it asks, so it cannot tell whether the store compares too."""
        with scratch_key(self) as key:
            self.put(key, b"first")
            try:
                self._retrier.call(partial(self._put, key, b"second", OCTETS, _NO_VERSION))
            except PreconditionError:
                return
            except _FAILURES as error:
                raise self._explained(key, error) from None
            raise ignores_conditions(self, "If-Match")

    def _read(self, key: str) -> "tuple[bytes, ObjectMeta]":
        path = check_key(key)
        return self._call(key, lambda: _read(self._client(), path))

    def _put(self, key: str, data: bytes, content_type: str, mode: "PutMode", attempt: str = "") -> None:
        attributes = {"Content-Type": content_type} | ({_ATTEMPT: attempt} if attempt else {})
        client = self._client(len(data))
        obstore.put(client, check_key(key), data, mode=mode, attributes=attributes, use_multipart=False)

    def _put_conditionally(self, key: str, data: bytes, content_type: str, mode: "PutMode") -> bool:
        attempt = uuid.uuid4().hex

        def try_once() -> bool:
            try:
                self._put(key, data, content_type, mode, attempt)
            except _REFUSED as refusal:
                if read_failure(refusal).code == "ConditionalRequestConflict":
                    raise  # two at once, and neither has won yet
                return self._is_of_attempt(key, attempt, mode, refusal)
            return True

        return self._call(key, try_once)

    def _is_of_attempt(self, key: str, attempt: str, mode: "PutMode", refusal: Exception) -> bool:
        """Whether the object that stands in the way is this attempt's. Raises the refusal where nothing does."""
        try:
            found = obstore.get(self._client(), key, options={"head": True})
        except FileNotFoundError:
            if mode == "create":
                raise Conflict from refusal
            return False
        if found.attributes.get(_ATTEMPT) == attempt:
            return True
        if isinstance(mode, dict) and _version(found.meta) == mode:
            raise Conflict from refusal
        return False

    def _pages(self, folder: str) -> Iterator[Sequence[Any]]:
        """A listing that breaks off goes on behind the last key that it gave."""
        pages: Iterator[Sequence[Any]] | None = None
        last: str | None = None

        def next_page() -> Sequence[Any]:
            nonlocal pages
            if pages is None:
                pages = iter(self._client().list(folder or None, offset=last, chunk_size=_AT_ONCE))
            try:
                return next(pages, ())
            except _FAILURES:
                pages = None
                raise

        while page := self._call("", next_page):
            yield page
            last = page[-1]["path"]

    def _delete(self, keys: Sequence[str]) -> None:
        """To Google and Azure an absent object is an error, which may leave the keys behind it."""
        try:
            obstore.delete(self._client(), keys)
        except FileNotFoundError as error:
            if not read_failure(error).is_absence:
                raise
            for key in keys if len(keys) > 1 else ():
                self._delete([key])

    def _call(self, key: str, function: Callable[[], T]) -> T:
        """Make a call again while its failures are transient; what the client library says may hold secrets."""
        try:
            return self._retrier.call(function)
        except _FAILURES as error:
            raise self._explained(key, error) from None
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of the client's own: no Exception, and of no public class
                raise
            raise self._explained(key, RuntimeError()) from None

    def _explained(self, key: str, error: Exception) -> StoreError:
        failure = read_failure(error)
        kind = StoreError if failure.is_transient else StoreRefusal
        return kind(f"{self.describe(key)}: {advice(failure, self._scheme, server_of(self.spec))}")

    def _is_transient(self, error: Exception) -> bool:
        if not isinstance(error, _FAILURES):
            return False
        failure = read_failure(error)
        return failure.is_transient or (failure.code in REGION_CODES and self._find_region())

    def _find_region(self) -> bool:
        """Whether the bucket's own region has become known: what was signed for another one is worth another try.

        Other threads' requests may have been under way, so this holds for as long as a call is made again.
        """
        with self._lock:
            if not self._region:
                self._region, self._region_since = bucket_region(self.spec), time.monotonic()
                self._clients.clear()
            return bool(self._region) and time.monotonic() - self._region_since < self._policy.deadline_s

    def _client(self, num_bytes: int = 0) -> Client:
        """A client that waits long enough for a body of this size to be sent."""
        timeout_s = self._policy.read_timeout_s * 2 ** max(0, (num_bytes - 1) // _SMALL_BYTES).bit_length()
        with self._lock:
            _check_process()
            if timeout_s not in self._clients:
                self._clients[timeout_s] = open_client(
                    self.spec, self._policy.connect_timeout_s, timeout_s, self._region
                )
            return self._clients[timeout_s]


def _read(client: Client, key: str) -> "tuple[bytes, ObjectMeta]":
    with _absence_told(key):
        found = obstore.get(client, key)
    return found.bytes().to_bytes(), found.meta


def _read_range(client: Client, key: str, start: int, stop: int) -> bytes:
    with _absence_told(key):
        return obstore.get_range(client, key, start=start, end=stop).to_bytes()


@contextmanager
def _absence_told(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if read_failure(error).is_absence:
            raise NotFound(key) from None
        raise


def _info(key: str, meta: "ObjectMeta") -> ObjectInfo:
    """A listing of Azure's has no quotes around what an answer has them around."""
    version = (meta["e_tag"] or meta["version"] or "").strip('"')
    return ObjectInfo(key, meta["size"], meta["last_modified"], version)


def _version(meta: "ObjectMeta") -> "UpdateVersion":
    known = {name: value for name, value in meta.items() if name in ("e_tag", "version") and value}
    return cast("UpdateVersion", known)


def _check_process() -> None:
    """Raises DarkroomError in a process forked off one that has made requests: there, and then in both, they hang."""
    global _using_process
    _using_process = _using_process or os.getpid()
    if _using_process != os.getpid():
        raise DarkroomError(
            "an object store was used before this process was forked off, and its connections do not outlive that; "
            "start processes by spawn, as multiprocessing.get_context('spawn') does"
        )
