"""Calls of a server that is busy, silent, elsewhere or not there."""

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest

from darkroom.rendering import http_calls
from darkroom.rendering.http_calls import NoReply, Reply, call, patient_call
from tests.rendering.images_server import serving


def replies(*statuses: int, asked_s: float | None = None):
    found = iter(statuses)
    return lambda: Reply(next(found), b"{}", asked_s)


@pytest.mark.parametrize(
    ("statuses", "max_attempts", "last", "num_waits"),
    [
        ((200,), 3, 200, 0),
        ((429, 503, 200), 3, 200, 2),
        ((500, 500), 2, 500, 1),
        ((400,), 3, 400, 0),
        ((429,), 1, 429, 0),
    ],
)
def test_what_passes_by_itself_is_tried_again(statuses, max_attempts: int, last: int, num_waits: int) -> None:
    waits: list[float] = []
    assert patient_call(replies(*statuses), max_attempts, waits.append).status == last
    assert len(waits) == num_waits


def test_waits_double_up_to_a_minute_and_are_what_the_server_asks_for() -> None:
    waits: list[float] = []
    patient_call(replies(*[500] * 9, 200), 10, waits.append)
    assert all(0.5 * 2**n <= wait <= 2**n for n, wait in enumerate(waits[:6]))
    assert max(waits) <= 60
    waits.clear()
    patient_call(replies(429, 200, asked_s=7.0), 2, waits.append)
    assert 7 <= waits[0] <= 8


@pytest.mark.parametrize(("text", "seconds"), [("5", 5.0), ("soon", None), (None, None), ("-1", None)])
def test_retry_after_is_read(text: str | None, seconds: float | None) -> None:
    assert http_calls._seconds(text) == seconds


def test_retry_after_may_be_a_date() -> None:
    found = http_calls._seconds(format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True))
    assert found is not None
    assert 95 < found <= 100


@pytest.mark.parametrize("data", [b"", b"<html>", b"\xff", b"[" * 100_000, b"9" * 10_000])
def test_what_is_no_json_is_told_as_such(data: bytes) -> None:
    with pytest.raises(ValueError):
        Reply(200, data).json()


def test_a_reply_that_broke_off_is_none() -> None:
    """It may be whole at the next try."""
    cut = SimpleNamespace(read=lambda most: b'{"cho', length=20, headers={})
    with pytest.raises(NoReply, match="it broke off 20 bytes before the end"):
        http_calls._read(cut, 200, cut.headers)


def test_a_redirect_is_a_reply_and_carries_no_key_anywhere() -> None:
    with serving() as server:
        body = {"model": "tiny", "prompt": "elsewhere", "size": "8x8"}
        reply = call(f"{server.url}/images/generations", body, {"Authorization": "Bearer secret"}, 5)
    assert reply.status == 302


def test_no_server_and_a_silent_one_are_told_apart() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(NoReply, match="refused") as caught:
            call(url, None, {}, 5)
        assert caught.value.is_unreachable
        taken.listen()
        with pytest.raises(NoReply, match=r"not answered within 0\.1 s") as caught:
            call(url, None, {}, 0.1)
        assert not caught.value.is_unreachable
