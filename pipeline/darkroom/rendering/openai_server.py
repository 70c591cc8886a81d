"""A server with OpenAI's API, asked with patience: its answer, or why one request has none.

What a server says of one request is handed on: refused for its content policy, or for what it says, or failed. What
every other request would meet too (no connection, no right, no such model, no credit) ends the job, and the same
command goes on where it was.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from darkroom.domain.errors import DarkroomError, EndsRun, TryAgain
from darkroom.rendering.http_calls import NoReply, Reply, call, patient_call
from darkroom.rendering.server_access import ServerAccess

# Codes of errors by which servers refuse for their content policy: OpenAI's DALL-E, its GPT Image, and Azure's.
_FILTERED = frozenset({"content_policy_violation", "moderation_blocked", "content_filter", "contentFilter"})
_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_FAILURES_IN_A_ROW = 24  # requests, after which the server and none of them is to blame


class ServerRefusal(DarkroomError, EndsRun):
    """What no request changes: a key, a model or an address that is wrong."""


class ServerGone(TryAgain, EndsRun):
    """It cannot be reached, or answers nothing any more: later it may."""


@dataclass(frozen=True)
class Unanswered:
    """Why a request has no answer."""

    error: str
    is_filtered: bool = False  # by its content policy
    is_failure: bool = False  # the server's own: later it may answer


class OpenAIServer:
    """One server. Safe for threads."""

    def __init__(self, access: ServerAccess) -> None:
        """Raises DarkroomError where the key is not there."""
        self._access, self._url, self._key = access, access.base_url.rstrip("/"), access.key
        self._counting, self._num_failures = threading.Lock(), 0  # requests in a row that the server failed
        self.host = urlsplit(self._url).netloc

    def check(self) -> None:
        """By a call that costs nothing; a server without it is not refused."""
        try:
            reply = patient_call(lambda: self._call("models", None), min(2, self._access.max_attempts))
        except NoReply as error:
            raise self._gone(error) from None
        if reply.status in (401, 403):
            raise self._no_right(reply)

    def ask(self, path: str, body: Mapping[str, Any]) -> Reply | Unanswered:
        """Raises ServerRefusal and ServerGone."""
        try:
            reply = patient_call(lambda: self._call(path, body), self._access.max_attempts, passes=_passes)
        except NoReply as error:
            if error.is_unreachable:
                raise self._gone(error) from None
            return self._failed(str(error))
        if reply.status != 200:
            return self._refused(path, reply)
        self._count(False)
        return reply

    def _call(self, path: str, body: Mapping[str, Any] | None) -> Reply:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return call(f"{self._url}/{path}", body, headers, self._access.timeout_s)

    def _refused(self, path: str, reply: Reply) -> Unanswered:
        code, said = _error_of(reply)
        text, made = f"{reply.status}, {said}" if said else str(reply.status), self._access.made
        if code in _FILTERED:
            self._count(False)
            return Unanswered(self._without_key(f"refused ({code}): {said}"), is_filtered=True)
        if code in _NO_CREDIT:
            raise ServerGone(self._without_key(f"{self._url}: no {made} is made for this account any more ({text})"))
        if reply.status in (401, 403):
            raise self._no_right(reply)
        if reply.status == 404 or 300 <= reply.status < 400:
            where = f"check {self._access.group}.base_url and {self._access.model}"
            raise ServerRefusal(self._without_key(f"{self._url}/{path} answers {text}; {where}"))
        if reply.is_transient:
            return self._failed(f"it answered {text}, {self._access.max_attempts} times")
        return Unanswered(self._without_key(f"the server refuses this request: {text}"))

    def _failed(self, reason: str) -> Unanswered:
        """Raises ServerGone after many in a row."""
        if self._count(True) >= _FAILURES_IN_A_ROW:
            raise ServerGone(
                self._without_key(
                    f"{self._url}: {_FAILURES_IN_A_ROW} {self._access.made}s in a row failed, the last as {reason}; "
                    "once it works again, the same command goes on"
                )
            )
        return Unanswered(self._without_key(f"the server failed: {reason}"), is_failure=True)

    def _count(self, is_failure: bool) -> int:
        """Failures in a row."""
        with self._counting:
            self._num_failures = self._num_failures + 1 if is_failure else 0
            return self._num_failures

    def _gone(self, error: NoReply) -> ServerGone:
        return ServerGone(f"{self._url} cannot be reached ({error}); start the server, and the same command goes on")

    def _no_right(self, reply: Reply) -> ServerRefusal:
        variable, said = self._access.key_variable, _error_of(reply)[1]
        named = f"name its variable as {self._access.group}.key_variable=..."
        remedy = f"check the key in {variable}" if variable else named
        return ServerRefusal(self._without_key(f"{self._url} answers {reply.status}, {said or 'no right'}; {remedy}"))

    def _without_key(self, text: str) -> str:
        """A server may repeat what it was sent."""
        return text.replace(self._key, "***") if self._key else text


def _passes(reply: Reply) -> bool:
    return reply.is_transient and _error_of(reply)[0] not in _FILTERED | _NO_CREDIT


def _error_of(reply: Reply) -> tuple[str | None, str]:
    """(code, message) of an error, as OpenAI writes them; empty where they are written otherwise."""
    try:
        found = reply.json()
    except ValueError:
        return None, _line(reply.data.decode("utf-8", "replace"))
    error = found.get("error", found) if isinstance(found, dict) else found
    if not isinstance(error, dict):
        return None, _line(str(error))
    code, message = error.get("code"), error.get("message") or error.get("detail") or ""
    return code if isinstance(code, str) else None, _line(str(message))


def _line(text: str) -> str:
    """In one line, and no page."""
    return " ".join(text.split())[:300]
