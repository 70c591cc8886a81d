"""Calls made again with full jitter, a growing pause and a deadline, and what their failures mean to a person.

obstore says what failed in words alone. Only the status, the store's error code and the kind of failure are taken from
them: a reply may repeat a secret, and nothing else of it is shown.
"""

import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, TypeVar

from obstore.exceptions import BaseError

T = TypeVar("T")
Kind = Literal["answer", "unreachable", "credentials", "foreign name", "client"]

_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>|\(code: ([A-Za-z0-9]{1,64})\)")
_UNREACHABLE = re.compile(r"HTTP error.*?kind: (\w{1,32})", re.DOTALL)
_PROVIDER = re.compile(r"External AWS credential provider: (\w{1,64})")
_TOKEN = "Error performing token request"  # of an identity service: Google's or Azure's
_ACCOUNT = "Account must be specified"  # at Azure
_REDIRECT = "redirect without LOCATION"  # how Amazon answers where the bucket is in another region
_FOREIGN = re.compile(r'path: "([^"\n]{0,512})')

_TRANSIENT_STATUS = frozenset({408, 409, 429, 500, 502, 503, 504})
_TRANSIENT_CODES = frozenset(  # that come with another status, or with none, as in the answer to a delete
    {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "InternalError", "ServiceUnavailable"}
    | {"ConditionalRequestConflict", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"}
)
_TRANSIENT_CREDENTIALS = frozenset(  # an instance role that is slow to answer
    {"CredentialRetrievalError", "MetadataRetrievalError", "ConnectTimeoutError", "ReadTimeoutError"}
    | {"EndpointConnectionError", "ConnectionClosedError", "HTTPClientError"}
)
NO_CONNECTION = "Connect"  # code where nobody listens, or no host has this name
BUCKET_CODES = frozenset({"NoSuchBucket", "ContainerNotFound"})
REGION_CODES = frozenset({"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"})

_BUCKET = "the bucket does not exist; create it, or correct its name"
_EXPIRED = "the session credentials have expired; renew them"
_CONDITION = "the store does not know conditional puts, which keep an image from being written twice; use another one"
_ADVICE = {
    **dict.fromkeys((*BUCKET_CODES, "404"), _BUCKET),
    **dict.fromkeys(("ExpiredToken", "InvalidToken", "TokenRefreshRequired"), _EXPIRED),
    **dict.fromkeys(REGION_CODES, "the bucket is in another region; set AWS_REGION to its own"),
    **dict.fromkeys(("NotImplemented", "501"), _CONDITION),
    "InvalidAccessKeyId": "the access key is not known there; correct AWS_ACCESS_KEY_ID or the profile",
    "SignatureDoesNotMatch": "the secret key is wrong; correct AWS_SECRET_ACCESS_KEY or the profile",
    "AuthenticationFailed": "the account's key or token is wrong; correct AZURE_STORAGE_ACCOUNT_KEY",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
}
CREDENTIALS_ADVICE = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_USE_AZURE_CLI=true after `az login`",
}
_LOGINS = frozenset({"UnauthorizedSSOTokenError", "SSOTokenLoadError", "TokenRetrievalError", "LoginRefreshRequired"})
_NONE_FOUND = frozenset({"", "NoCredentialsError", "PartialCredentialsError"})


@dataclass(frozen=True)
class RetryPolicy:
    """How long one try may take, and how long a call is worth making again."""

    deadline_s: float = 120.0  # from the first try; the last pause may not reach past it
    first_pause_s: float = 0.2  # the upper end of the first one; doubled each time
    longest_pause_s: float = 20.0
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0  # without a byte; more for a body that takes longer to send


class Retrier:
    """Makes calls again while their failures are transient, and counts how often. Safe to share between threads."""

    def __init__(
        self,
        is_transient: Callable[[Exception], bool],
        policy: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.num_retries = 0
        self._is_transient = is_transient
        self._policy = policy or RetryPolicy()
        self._sleep = sleep
        self._clock = clock
        self._uniform = uniform
        self._lock = threading.Lock()

    def call(self, function: Callable[[], T]) -> T:
        """The function's value. The last error, once it is not transient or the deadline is reached."""
        end, longest_s = self._clock() + self._policy.deadline_s, self._policy.first_pause_s
        while True:
            try:
                return interruptible(function)
            except Exception as error:
                pause_s = self._uniform(0, longest_s)
                if not self._is_transient(error) or self._clock() + pause_s > end:
                    raise
            with self._lock:
                self.num_retries += 1
            self._sleep(pause_s)
            longest_s = min(2 * longest_s, self._policy.longest_pause_s)


def interruptible(function: Callable[[], T]) -> T:
    """The function's value, for the main thread by way of another one, which it leaves behind where a signal ends it.

    A native call holds the thread that makes it until a reply comes, and Python's signal handlers run in the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        return function()
    called: Future[T] = Future()
    threading.Thread(target=_settle, args=(called, function), name="call", daemon=True).start()
    return called.result()


def _settle(called: "Future[T]", function: Callable[[], T]) -> None:
    try:
        called.set_result(function())
    except BaseException as error:  # the client's own panic is no Exception
        called.set_exception(error)


# What failed ---------------------------------------------------------------------------------------------------------


class CredentialsError(Exception):
    """The chain of credentials failed. Its text is the name of what went wrong, or empty where none were found."""


class Conflict(Exception):
    """A conditional put was refused, and nothing stands in its way: it is worth another try."""


@dataclass(frozen=True)
class Failure:
    """One failed request, without a word of the request."""

    kind: Kind
    status: int = 0  # of the HTTP answer, 0 where there was none
    code: str = ""  # the store's error code, or the name of what went wrong

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed a little later."""
        if self.kind == "credentials":
            return self.code in _TRANSIENT_CREDENTIALS
        if self.kind == "answer":
            return self.status in _TRANSIENT_STATUS or self.code in _TRANSIENT_CODES
        return self.kind == "unreachable"

    @property
    def is_absence(self) -> bool:
        """No object is there, though its bucket may be."""
        return self.status == 404 and self.code not in BUCKET_CODES


def read_failure(error: Exception) -> Failure:
    """What the client library's words tell."""
    if isinstance(error, CredentialsError):
        return Failure("credentials", code=str(error))
    if isinstance(error, Conflict):
        return Failure("answer", 409, "Conflict")
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    if provider := _PROVIDER.search(text):
        return Failure("credentials", code=provider[1])
    if _TOKEN in text or _ACCOUNT in text:
        return Failure("credentials", int(status[1]) if status else 0)
    if status or code:
        return _answer(status[1] if status else "0", (code[1] or code[2]) if code else "")
    if _REDIRECT in text:
        return Failure("answer", 301, "PermanentRedirect")
    if isinstance(error, BaseError) and (found := _UNREACHABLE.search(text)):
        return Failure("unreachable", code=found[1])
    if type(error).__name__ == "InvalidPathError":
        return Failure("foreign name", code=ascii(found[1]) if (found := _FOREIGN.search(text)) else "")
    return Failure("client", code=type(error).__name__)


def _answer(status: str, code: str) -> Failure:
    """Azure gives a status as the code of a key that it did not delete."""
    return Failure("answer", int(code)) if code.isdecimal() else Failure("answer", int(status), code)


def advice(failure: Failure, scheme: str, where: str) -> str:
    """One line: what went wrong at `where`, and what to do."""
    if failure.kind == "credentials":
        return _credentials_advice(failure.code, scheme)
    if failure.kind == "unreachable":
        return f"{where} cannot be reached ({failure.code}); check output.endpoint_url and the network"
    if failure.kind == "foreign name":
        return f"the object {failure.code} has a name with an empty, '.' or '..' part; move it out of this folder"
    if failure.kind == "client":
        return (
            f"the client failed ({failure.code}); check the address, and the credentials: {CREDENTIALS_ADVICE[scheme]}"
        )
    said = failure.code or str(failure.status)
    if said in _ADVICE:
        return f"{_ADVICE[said]} ({where} answered {said})"
    if failure.status in (401, 403):
        return f"access refused by {where} ({said}); check the credentials and their right to this bucket"
    return f"{where} answered {said}; try again later, or check the address"


def _credentials_advice(name: str, scheme: str) -> str:
    if name in _NONE_FOUND:
        return f"no credentials found; {CREDENTIALS_ADVICE[scheme]}"
    if name in _LOGINS:
        return f"the login has expired ({name}); run `aws sso login` for the profile"
    return f"the credentials cannot be had ({name}); check AWS_PROFILE and the files in ~/.aws"
