"""Objects in S3 or a store that speaks its language. The one file that knows boto3."""

import threading
import uuid
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, NoCredentialsError

from pipeline.domain.errors import DarkroomError
from pipeline.storage.retry import Retrier, RetryPolicy
from pipeline.storage.store import (
    OCTETS,
    NotFound,
    ObjectInfo,
    StoreSpec,
    check_conditional_puts,
    check_key,
    split_s3,
)

_PASSING_STATUS = frozenset({408, 409, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"SlowDown", "RequestTimeout", "RequestTimeTooSkewed", "Throttling", "ThrottlingException"})
_ATTEMPT = "attempt"  # metadata key: who wrote the object, so that a lost reply does not hide our own success
_DELETE_AT_ONCE = 1000  # keys a call, S3's own limit


class S3Store:
    """A bucket and a prefix in it. Pickles to its address; the client is made where it is used."""

    def __init__(self, spec: StoreSpec, policy: RetryPolicy | None = None) -> None:
        self.spec = spec
        self._policy = policy
        self._bucket, self._prefix = split_s3(spec.uri)
        self._retrier = Retrier(is_passing, policy)
        self._lock = threading.Lock()
        self._made: Any = None

    def __reduce__(self) -> tuple:
        return S3Store, (self.spec, self._policy)

    @property
    def num_retries(self) -> int:
        return self._retrier.num_retries

    def get(self, key: str) -> bytes:
        return self._read(key)[0]

    def put(self, key: str, data: bytes, content_type: str = OCTETS) -> None:
        self._retrier.call(lambda: self._put(key, data, content_type))

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
            page = self._retrier.call(partial(self._page, prefix, token))
            for found in page.get("Contents", ()):
                key = found["Key"][len(self._prefix) + 1 if self._prefix else 0 :]
                if not key.startswith("."):
                    yield ObjectInfo(key, found["Size"], found["LastModified"])
            token = page.get("NextContinuationToken")
            if not token:
                return

    def delete(self, keys: Iterable[str]) -> int:
        count, remaining = 0, iter(keys)
        while chunk := list(islice(remaining, _DELETE_AT_ONCE)):
            self._retrier.call(partial(self._delete_once, chunk))
            count += len(chunk)
        return count

    def describe(self, key: str = "") -> str:
        return f"{self.spec.uri}/{key}".rstrip("/")

    def check(self, writing: bool = True) -> None:
        """Bucket, rights and conditional puts, with little patience: a person is waiting."""
        hasty = S3Store(self.spec, RetryPolicy(deadline_s=3.0))
        try:
            hasty._client.list_objects_v2(Bucket=self._bucket, Prefix=hasty._below(""), MaxKeys=1)
            if writing:
                check_conditional_puts(hasty)
        except (ClientError, BotoCoreError) as error:
            raise DarkroomError(f"output.uri: {self.describe()}: {_explained(error, self)}") from None

    # One call each ---------------------------------------------------------------------------------------------

    def _read(self, key: str) -> tuple[bytes, str]:
        return self._retrier.call(lambda: self._read_once(key))

    def _read_once(self, key: str) -> tuple[bytes, str]:
        try:
            reply = self._client.get_object(Bucket=self._bucket, Key=self._full(key))
            data = reply["Body"].read()
        except ClientError as error:
            if _status(error) == 404 and _code(error) != "NoSuchBucket":
                raise NotFound(key) from None
            raise
        if len(data) != reply["ContentLength"]:
            raise _Truncated(f"{key}: {len(data)} of {reply['ContentLength']} bytes came")
        return data, reply["ETag"]

    def _put(self, key: str, data: bytes, content_type: str, **condition: Any) -> None:
        self._client.put_object(
            Bucket=self._bucket, Key=self._full(key), Body=data, ContentType=content_type, **condition
        )

    def _put_conditionally(self, key: str, data: bytes, content_type: str, condition: dict[str, str]) -> bool:
        """412 means that an object is there; whose it is, its metadata says."""
        attempt = uuid.uuid4().hex
        named = {**condition, "Metadata": {_ATTEMPT: attempt}}
        try:
            self._retrier.call(lambda: self._put(key, data, content_type, **named))
        except ClientError as error:
            if _status(error) == 412:
                return self._attempt_of(key) == attempt
            if _status(error) == 404 and "IfMatch" in condition and _code(error) != "NoSuchBucket":
                return False
            raise
        return True

    def _attempt_of(self, key: str) -> str | None:
        head = self._retrier.call(lambda: self._client.head_object(Bucket=self._bucket, Key=self._full(key)))
        return head.get("Metadata", {}).get(_ATTEMPT)

    def _delete_once(self, keys: list[str]) -> None:
        objects = [{"Key": self._full(key)} for key in keys]
        self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})

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
            if self._made is None:
                self._made = _make_client(self.spec.endpoint_url)
            return self._made


class _Truncated(ConnectionError):
    fmt = "{msg}"

    def __init__(self, text: str) -> None:
        super().__init__(msg=text, error=text)


def _make_client(endpoint_url: str | None) -> Any:
    """A client that fails fast and leaves patience to the retrier; credentials by the standard chain alone."""
    config = Config(
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 2},
        max_pool_connections=32,
        s3={"addressing_style": "path"} if endpoint_url else {},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", endpoint_url=endpoint_url, config=config)


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed a little later."""
    if isinstance(error, ClientError):
        return _status(error) in _PASSING_STATUS or _code(error) in _PASSING_CODES
    return isinstance(error, (ConnectionError, HTTPClientError))


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _explained(error: Exception, store: S3Store) -> str:
    """What went wrong and what to do, without a word of the request that failed."""
    where = store.spec.endpoint_url or "Amazon S3"
    if isinstance(error, NoCredentialsError):
        return "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`"
    if isinstance(error, ClientError):
        code = _code(error) or str(_status(error))
        if code in ("NoSuchBucket", "404"):
            return "the bucket does not exist; create it, or correct its name"
        if _status(error) in (401, 403):
            return f"access refused by {where} ({code}); check the credentials and their right to this bucket"
        return f"{where} answered {code}; try again later, or check the address"
    return f"{where} cannot be reached ({type(error).__name__}); check output.endpoint_url and the network"
