"""Calls of an HTTP server that takes JSON: one call, and one with patience for what passes by itself.

Nothing here follows a redirect, which could carry a key to another host, and no error repeats the key.
"""

import http.client
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_MOST_BYTES = 1 << 28  # of a reply
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0  # doubled from try to try; of waits that the server does not name
_MOST_PATIENCE_S = 600.0  # of those that it names


class NoReply(Exception):
    """The server did not answer, or broke off."""

    def __init__(self, reason: str, is_unreachable: bool) -> None:
        super().__init__(reason)
        self.is_unreachable = is_unreachable  # no connection was made: nothing was asked


@dataclass(frozen=True)
class Reply:
    """Whatever the server answered, errors too."""

    status: int
    data: bytes = field(repr=False)
    retry_after_s: float | None = None  # which it asks to wait

    @property
    def is_transient(self) -> bool:
        return self.status in _TRANSIENT

    def json(self) -> Any:
        """Raises ValueError where it is none."""
        try:
            return json.loads(self.data)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def call(url: str, body: Mapping[str, Any] | None, headers: Mapping[str, str], timeout_s: float) -> Reply:
    """POST the body as JSON, or GET where there is none. Raises NoReply."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with _OPENER.open(request, timeout=timeout_s) as reply:
            return _read(reply, reply.status, reply.headers)
    except urllib.error.HTTPError as error:
        with error:
            return _read(error, error.code, error.headers)
    except urllib.error.URLError as error:
        is_late = isinstance(error.reason, TimeoutError)
        raise NoReply(_late(timeout_s) if is_late else str(error.reason), is_unreachable=not is_late) from None
    except TimeoutError:
        raise NoReply(_late(timeout_s), is_unreachable=False) from None
    except (OSError, http.client.HTTPException) as error:
        raise NoReply(f"it broke off ({type(error).__name__})", is_unreachable=False) from None


def patient_call(
    one_call: Callable[[], Reply],
    max_attempts: int,
    sleep: Callable[[float], None] = time.sleep,
    passes: Callable[[Reply], bool] = lambda reply: reply.is_transient,
) -> Reply:
    """The first reply that another try would not change, or the last one. Raises NoReply where that try has none.

    passes: whether what a reply says may be over by the next try.
    """
    for attempt in range(1, max_attempts + 1):
        try:
            reply = one_call()
            if not passes(reply) or attempt == max_attempts:
                return reply
            asked_s = reply.retry_after_s
        except NoReply:
            if attempt == max_attempts:
                raise
            asked_s = None
        sleep(_wait_s(attempt, asked_s))
    raise AssertionError("max_attempts is 1 or more")


def _wait_s(attempt: int, asked_s: float | None) -> float:
    """With jitter, so that calls that failed together do not come back together."""
    if asked_s is not None:
        return min(asked_s, _MOST_PATIENCE_S) + random.uniform(0, _FIRST_WAIT_S)
    return min(_FIRST_WAIT_S * 2.0 ** (attempt - 1), _LONGEST_WAIT_S) * random.uniform(0.5, 1)


def _read(reply: Any, status: int, headers: Any) -> Reply:
    data = reply.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise NoReply(f"its reply has more than {_MOST_BYTES} bytes", is_unreachable=False)
    if reply.length:
        raise NoReply(f"it broke off {reply.length} bytes before the end", is_unreachable=False)
    return Reply(status, data, _seconds(headers.get("Retry-After")))


def _seconds(text: str | None) -> float | None:
    """RFC 9110, 10.2.3: seconds, or a date; None for anything else."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _late(timeout_s: float) -> str:
    return f"it has not answered within {timeout_s:g} s"
