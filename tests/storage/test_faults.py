"""S3 behind a network that fails: what is retried, what is not, and that nothing is written twice or said too much."""

import logging
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.storage.objects import ObjectStore
from darkroom.storage.store import NotFound, StoreError, parse_spec
from tests.servers import CREDENTIALS, Fault, FaultyProxy
from tests.storage.conftest import QUICK

PASSING = [
    Fault(500),
    Fault(502, code=""),
    Fault(503, code="SlowDown"),
    Fault(429, code="TooManyRequests"),
    Fault(408, code="RequestTimeout"),
    Fault(400, code="RequestTimeout"),
    Fault(409, code="ConditionalRequestConflict"),
    Fault(reset=True),
]


@pytest.mark.slow
@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: f"{fault.status}-{fault.code}")
def test_a_passing_fault_is_tried_again_and_counted(proxy: FaultyProxy, spoiled: ObjectStore, fault: Fault) -> None:
    proxy.fail(fault, times=3)
    assert spoiled.put_if_absent("a", b"x")
    assert spoiled.get("a") == b"x"
    assert spoiled.num_retries == 3


def test_a_lost_reply_does_not_hide_our_own_success(
    proxy: FaultyProxy, spoiled: ObjectStore, direct: ObjectStore
) -> None:
    proxy.fail(Fault(lost_reply=True), times=2, method="PUT")
    assert spoiled.put_if_absent("a", b"ours")
    assert direct.get("a") == b"ours"
    assert [method for method, _ in proxy.requests] == ["PUT", "PUT", "PUT", "HEAD"]


def test_a_lost_reply_does_not_claim_anothers_success(
    proxy: FaultyProxy, spoiled: ObjectStore, direct: ObjectStore
) -> None:
    direct.put_if_absent("a", b"theirs")
    proxy.fail(Fault(lost_reply=True), method="PUT")
    assert not spoiled.put_if_absent("a", b"ours")
    assert direct.get("a") == b"theirs"


def test_a_lost_reply_does_not_hide_a_replacement(
    proxy: FaultyProxy, spoiled: ObjectStore, direct: ObjectStore
) -> None:
    direct.put("a", b"old")
    proxy.fail(Fault(lost_reply=True), method="PUT")
    assert spoiled.replace("a", b"new", expected=b"old")
    assert direct.get("a") == b"new"


@pytest.mark.slow
def test_a_reply_that_comes_too_late_is_a_lost_one(proxy: FaultyProxy, uri: str, direct: ObjectStore) -> None:
    store = ObjectStore(parse_spec(uri, proxy.url), replace(QUICK, read_timeout_s=0.3))
    proxy.fail(Fault(delay_s=0.8), method="PUT")
    assert store.put_if_absent("a", b"ours")
    assert store.num_retries >= 1  # more where the machine is slow too
    assert direct.get("a") == b"ours"


def test_half_a_body_is_read_again(proxy: FaultyProxy, spoiled: ObjectStore) -> None:
    data = bytes(range(256)) * 4000
    spoiled.put("a", data)
    proxy.fail(Fault(truncated=True), times=2, method="GET")
    assert spoiled.get("a") == data
    assert spoiled.num_retries == 2


@pytest.mark.slow
def test_list_and_delete_are_tried_again(proxy: FaultyProxy, spoiled: ObjectStore) -> None:
    for key in ("a", "b"):
        spoiled.put(key, b"")
    proxy.fail(Fault(503, code="SlowDown"), times=2)
    assert [info.key for info in spoiled.list()] == ["a", "b"]
    proxy.fail(Fault(reset=True), method="POST")
    assert spoiled.delete(["a"]) == 1
    assert [info.key for info in spoiled.list()] == ["b"]
    assert spoiled.num_retries == 3


def test_a_key_that_could_not_be_deleted_is_an_error_though_the_answer_says_200(
    proxy: FaultyProxy, spoiled: ObjectStore
) -> None:
    """S3 answers 200 and names the keys it kept."""
    key = f"{spoiled.spec.uri.removeprefix('s3://bucket/')}/a"
    proxy.fail(Fault(200, body=_kept(key, "AccessDenied")), method="POST")
    with pytest.raises(StoreError, match="AccessDenied"):
        spoiled.delete(["a", "b"])
    proxy.fail(Fault(200, body=_kept(key, "InternalError")), method="POST")
    assert spoiled.delete(["a", "b"]) == 2


def test_an_answer_that_makes_the_client_panic_is_an_error_in_one_line(
    proxy: FaultyProxy, spoiled: ObjectStore
) -> None:
    """To a delete, of a key that it was not asked for."""
    proxy.fail(Fault(200, body=_kept("another", "AccessDenied")), method="POST")
    with pytest.raises(StoreError, match="the client failed") as caught:
        spoiled.delete(["a"])
    assert "\n" not in str(caught.value)


def _kept(key: str, code: str) -> str:
    return f"<DeleteResult><Error><Key>{key}</Key><Code>{code}</Code><Message>no</Message></Error></DeleteResult>"


@pytest.mark.slow
def test_a_fault_that_stays_is_given_up_at_the_deadline(proxy: FaultyProxy, uri: str) -> None:
    store = ObjectStore(parse_spec(uri, proxy.url), replace(QUICK, deadline_s=1.0))
    list(store.list())  # makes the client, which takes its time
    proxy.requests.clear()
    proxy.fail(Fault(503, code="SlowDown"), times=10_000)
    with pytest.raises(StoreError, match="answered SlowDown"):
        store.put("a", b"x")
    assert 0 < store.num_retries == len(proxy.requests) - 1


def test_a_refusal_is_not_tried_again(proxy: FaultyProxy, spoiled: ObjectStore) -> None:
    proxy.fail(Fault(403, code="AccessDenied"), times=9)
    with pytest.raises(StoreError, match="AccessDenied"):
        spoiled.put_if_absent("a", b"x")
    assert len(proxy.requests) == 1


def test_an_absent_key_is_asked_for_once(proxy: FaultyProxy, spoiled: ObjectStore) -> None:
    with pytest.raises(NotFound):
        spoiled.get("none")
    assert len(proxy.requests) == 1


@pytest.mark.slow
def test_threads_in_a_storm_write_every_object_once(
    proxy: FaultyProxy, spoiled: ObjectStore, direct: ObjectStore
) -> None:
    """Two writers a key, most ways of failing: one of them wins each, and its bytes are the ones that stay."""
    proxy.storm([Fault(500), Fault(503, code="SlowDown"), Fault(reset=True), Fault(lost_reply=True)], rate=0.3)
    jobs = [(f"k{number}", writer) for number in range(60) for writer in (b"one", b"two")]
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda job: spoiled.put_if_absent(*job), jobs))
    winners = {key: writer for (key, writer), first in zip(jobs, won, strict=True) if first}
    assert sum(won) == 60
    assert {key: direct.get(key) for key, _ in jobs} == winners
    assert spoiled.num_retries > 20


# What check() says -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_a_store_that_ignores_conditions_is_refused(proxy: FaultyProxy, spoiled: ObjectStore, header: str) -> None:
    proxy.stripped = frozenset({header.lower()})
    with pytest.raises(DarkroomError, match=rf"ignores conditional puts \({header}\)"):
        spoiled.check()
    spoiled.check(writing=False)


@pytest.mark.slow
def test_a_passing_fault_does_not_fail_a_check(proxy: FaultyProxy, spoiled: ObjectStore) -> None:
    for method in ("GET", "PUT", "HEAD"):
        proxy.fail(Fault(503, code="SlowDown"), method=method)
    spoiled.check()


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "InvalidAccessKeyId", "correct AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "correct AWS_SECRET_ACCESS_KEY"),
        (403, "AccessDenied", "their right to this bucket"),
        (400, "ExpiredToken", "have expired"),
        (501, "NotImplemented", "conditional puts"),
        (400, "AuthorizationHeaderMalformed", "another region"),
    ],
)
def test_a_refusal_is_explained_in_one_line_without_a_secret(
    proxy: FaultyProxy, spoiled: ObjectStore, status: int, code: str, words: str
) -> None:
    """Amazon repeats the key id and what was signed; an imitation may repeat anything."""
    key_id, secret = "AKIAEXAMPLE", CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
    echo = f"<Message>no {key_id}\n{secret}</Message><AWSAccessKeyId>{key_id}</AWSAccessKeyId>"
    body = f"<Error><Code>{code}</Code>{echo}<StringToSign>{secret}</StringToSign></Error>"
    proxy.fail(Fault(status, body=body), times=9)
    with pytest.raises(DarkroomError, match=words) as checked:
        spoiled.check()
    with pytest.raises(StoreError, match=words) as put:
        spoiled.put_if_absent("a", b"x")
    for error in (checked.value, put.value, pickle.loads(pickle.dumps(put.value))):
        assert "\n" not in str(error)
        assert secret not in repr(error)
        assert key_id not in repr(error)


def test_a_log_of_everything_holds_no_credentials(
    s3_endpoint: str, uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client library's debug lines hold session tokens and signatures, and a verbose run logs at debug level."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-token-nobody-may-see")
    caplog.set_level(logging.DEBUG)
    ObjectStore(parse_spec(uri, s3_endpoint)).put_if_absent("a", b"x")
    assert "session-token-nobody-may-see" not in caplog.text
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in caplog.text
    assert "Signature" not in caplog.text


def test_a_store_holds_no_credentials(s3_endpoint: str, uri: str) -> None:
    store = ObjectStore(parse_spec(uri, s3_endpoint))
    store.put("a", b"x")
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode() not in pickle.dumps((store, store.filesystem()))
