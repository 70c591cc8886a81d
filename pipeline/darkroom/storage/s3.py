"""Objects in S3 or a store that speaks its language. The one file that knows boto3."""

import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import exceptions as botocore_errors
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import create_loader

from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.storage.advice import advice
from darkroom.storage.retry import Retrier, RetryPolicy
from darkroom.storage.store import (
    OCTETS,
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
    split_s3,
)

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

T = TypeVar("T")
_PASSING_STATUS = frozenset({408, 409, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset(  # that come with another status, or with none, as in the answer to a delete
    {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "InternalError", "ServiceUnavailable"}
    | {"ConditionalRequestConflict", "IncompleteBody", "BadDigest"}
)
_PASSING_ERRORS = (
    botocore_errors.ConnectionError,
    botocore_errors.HTTPClientError,
    botocore_errors.IncompleteReadError,
    botocore_errors.CredentialRetrievalError,  # an instance role that is slow to answer
    botocore_errors.MetadataRetrievalError,
)
_NO_CREDENTIALS = (botocore_errors.NoCredentialsError, botocore_errors.PartialCredentialsError)
_UNREACHABLE = (botocore_errors.ConnectionError, botocore_errors.HTTPClientError)
_ATTEMPT = "attempt"  # metadata key: who wrote the object, so that a lost reply does not hide our own success
_NO_ETAG = f'"{"0" * 32}"'  # of no object
_DELETE_AT_ONCE = 1000  # keys a call, S3's own limit


class S3Store:
    """A bucket and a prefix in it. Pickles to its address; the client is made where it is used."""

    def __init__(self, spec: StoreSpec, policy: RetryPolicy | None = None) -> None:
        self.spec = spec
        self._policy = policy or RetryPolicy()
        self._bucket, self._prefix = split_s3(spec.uri)
        self._retrier = Retrier(is_passing, self._policy)
        self._lock = threading.Lock()
        self._made: Any = None
        self._made_in = 0  # process: a fork must not share its parent's connections

    def __reduce__(self) -> tuple:
        return S3Store, (self.spec, self._policy)

    @property
    def num_retries(self) -> int:
        return self._retrier.num_retries

    def get(self, key: str) -> bytes:
        return self._read(key)[0]

    def put(self, key: str, data: bytes, content_type: str = OCTETS) -> None:
        self._call(key, lambda: self._put(key, data, content_type))

    def put_if_absent(self, key: str, data: bytes, content_type: str = OCTETS) -> bool:
        return self._put_conditionally(key, data, content_type, {"IfNoneMatch": "*"})

    def replace(self, key: str, data: bytes, expected: bytes, content_type: str = OCTETS) -> bool:
        try:
            present, etag = self._read(key)
        except NotFound:
            return False
        return present == expected and self._put_conditionally(key, data, content_type, {"IfMatch": etag})

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        token: str | None = None
        while True:
            page = self._call("", partial(self._page, check_prefix(prefix), token))
            for found in page.get("Contents", ()):
                key = found["Key"][len(self._prefix) + 1 if self._prefix else 0 :]
                if is_listed(key):
                    yield ObjectInfo(key, found["Size"], found["LastModified"])
            token = page.get("NextContinuationToken")
            if not token:
                return

    def delete(self, keys: Iterable[str]) -> int:
        count, remaining = 0, iter(keys)
        while chunk := list(islice(remaining, _DELETE_AT_ONCE)):
            self._call("", partial(self._delete_once, chunk))
            count += len(chunk)
        return count

    def describe(self, key: str = "") -> str:
        return f"{self.spec.uri}/{key}".rstrip("/")

    def check(self, writing: bool = True) -> None:
        """Bucket, rights and conditional puts, with little patience: a person is waiting."""
        hasty = S3Store(self.spec, RetryPolicy(deadline_s=3.0, connect_timeout_s=3.0, read_timeout_s=10.0))
        try:
            next(hasty.list(), None)
            if writing:
                check_conditional_puts(hasty)
                hasty._check_if_match()
        except StoreRefusal as error:
            raise DarkroomError(f"output.uri: {error}") from None
        except StoreError as error:
            raise TryAgain(f"output.uri: {error}") from None

    def filesystem(self) -> "tuple[FileSystem, str]":
        return _arrow_filesystem(self._bucket, self.spec.endpoint_url), f"{self._bucket}/{self._prefix}".rstrip("/")

    def _check_if_match(self) -> None:
        """`replace` compares before it asks, so it cannot tell whether the store compares too."""
        with scratch_key(self) as key:
            self.put(key, b"first")
            if self._call(key, lambda: self._put(key, b"second", OCTETS, IfMatch=_NO_ETAG)):
                raise ignores_conditions(self, "If-Match")

    # One call each ---------------------------------------------------------------------------------------------

    def _read(self, key: str) -> tuple[bytes, str]:
        return self._call(key, lambda: self._read_once(key))

    def _read_once(self, key: str) -> tuple[bytes, str]:
        try:
            reply = self._client.get_object(Bucket=self._bucket, Key=self._full(key))
            data = reply["Body"].read()
        except ClientError as error:
            if _status(error) == 404 and _code(error) != "NoSuchBucket":
                raise NotFound(key) from None
            raise
        expected = reply.get("ContentLength", len(data))
        if len(data) != expected:
            raise botocore_errors.IncompleteReadError(actual_bytes=len(data), expected_bytes=expected)
        return data, reply["ETag"]

    def _put(self, key: str, data: bytes, content_type: str, **more: Any) -> bool:
        """False when a condition among `more` does not hold."""
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=self._full(key), Body=data, ContentType=content_type, **more
            )
        except ClientError as error:
            vanished = "IfMatch" in more and _status(error) == 404 and _code(error) != "NoSuchBucket"
            if _status(error) == 412 or vanished:
                return False
            raise
        return True

    def _put_conditionally(self, key: str, data: bytes, content_type: str, condition: dict[str, str]) -> bool:
        """412 means that an object is there; whose it is, its metadata says."""
        attempt = uuid.uuid4().hex
        named = {**condition, "Metadata": {_ATTEMPT: attempt}}
        written = self._call(key, lambda: self._put(key, data, content_type, **named))
        return written or self._call(key, lambda: self._attempt_of(key)) == attempt

    def _attempt_of(self, key: str) -> str | None:
        try:
            head = self._client.head_object(Bucket=self._bucket, Key=self._full(key))
        except ClientError as error:
            if _status(error) == 404:
                return None
            raise
        return head.get("Metadata", {}).get(_ATTEMPT)

    def _delete_once(self, keys: Sequence[str]) -> None:
        """A key that could not be removed is named in an answer that says 200."""
        objects = [{"Key": self._full(key)} for key in keys]
        reply = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
        for failed in reply.get("Errors", ()):
            if failed.get("Code") != "NoSuchKey":
                raise ClientError({"Error": {"Code": failed.get("Code", "")}}, "DeleteObjects")

    def _call(self, key: str, function: Callable[[], T]) -> T:
        """Again and again while it fails in passing; what the client library then says may hold more than it should."""
        try:
            return self._retrier.call(function)
        except (ClientError, BotoCoreError) as error:
            kind = StoreError if is_passing(error) else StoreRefusal
            raise kind(f"{self.describe(key)}: {self._explained(error)}") from None

    def _explained(self, error: Exception) -> str:
        """What went wrong and what to do, without a word of the request that failed."""
        where = self.spec.endpoint_url or "Amazon S3"
        if isinstance(error, ClientError):
            return advice(_code(error), _status(error), where)
        if isinstance(error, _NO_CREDENTIALS):
            return "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`"
        if isinstance(error, _UNREACHABLE):
            return f"{where} cannot be reached ({type(error).__name__}); check output.endpoint_url and the network"
        return f"the S3 client failed ({type(error).__name__}); check AWS_PROFILE and the files in ~/.aws"

    def _page(self, prefix: str, token: str | None) -> dict:
        more = {"ContinuationToken": token} if token else {}
        return self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._below(prefix), **more)

    def _full(self, key: str) -> str:
        return self._below(check_key(key))

    def _below(self, prefix: str) -> str:
        return f"{self._prefix}/{prefix}" if self._prefix else prefix

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._made is None or self._made_in != os.getpid():
                self._made, self._made_in = _make_client(self.spec.endpoint_url, self._policy), os.getpid()
            return self._made


def _make_client(endpoint_url: str | None, policy: RetryPolicy) -> Any:
    """A client that tries once, so that every retry is ours, counted; credentials by the standard chain alone."""
    # Its debug lines hold session tokens and signatures; a run that logs everything must not log those.
    logging.getLogger("botocore").setLevel(logging.INFO)
    imitation = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    config = Config(
        connect_timeout=policy.connect_timeout_s,
        read_timeout=policy.read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=32,
        s3={"addressing_style": "path"} if endpoint_url else {},
        **(imitation if endpoint_url else {}),  # Amazon's own checksums are worth having, others may not know them
    )
    # A session of its own: the default one is not safe to make clients from in threads. What is slow, the reading of
    # Amazon's description of S3, is shared.
    session = botocore.session.Session()
    session.register_component("data_loader", _api_descriptions())
    return boto3.session.Session(botocore_session=session).client("s3", endpoint_url=endpoint_url, config=config)


@cache
def _api_descriptions() -> Any:
    return create_loader()


def _arrow_filesystem(bucket: str, endpoint_url: str | None) -> "FileSystem":
    """Arrow looks for credentials where boto3 does; the file system holds none that could be pickled."""
    from pyarrow import fs

    timeouts: dict[str, Any] = {"connect_timeout": 5, "request_timeout": 60}
    url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if url:
        parts = urlsplit(url)
        return fs.S3FileSystem(endpoint_override=parts.netloc + parts.path, scheme=parts.scheme, **timeouts)
    try:
        return fs.S3FileSystem(region=fs.resolve_s3_region(bucket), **timeouts)
    except OSError:
        return fs.S3FileSystem(**timeouts)  # let the first request say what is wrong


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed a little later."""
    if isinstance(error, ClientError):
        return _status(error) in _PASSING_STATUS or _code(error) in _PASSING_CODES
    return isinstance(error, _PASSING_ERRORS)


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")
