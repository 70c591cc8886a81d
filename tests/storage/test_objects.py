"""What object stores add to a network's faults: conflicts, regions, credentials that change, forks, other clouds."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import boto3
import obstore
import pytest

from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.storage.clouds import open_client
from darkroom.storage.objects import ObjectStore
from darkroom.storage.store import StoreError, StoreRefusal, parse_spec
from tests.processes import wait_for
from tests.servers import CREDENTIALS, Fault, FaultyProxy
from tests.storage.clouds import AZURE_ACCOUNT, GoogleDialect, google_account
from tests.storage.conftest import QUICK

# Conflicts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [409, 412])
def test_a_put_refused_where_nothing_stands_in_its_way_is_tried_again(
    proxy: FaultyProxy, spoiled: ObjectStore, status: int
) -> None:
    """409 of two at once, or 412 for an object that was removed since."""
    proxy.fail(Fault(status, code="PreconditionFailed"), times=2, method="PUT")
    assert spoiled.put_if_absent("a", b"ours")
    assert spoiled.num_retries == 2


def test_a_replacement_in_conflict_with_none_that_won_is_tried_again(
    proxy: FaultyProxy, spoiled: ObjectStore, direct: ObjectStore
) -> None:
    direct.put("a", b"old")
    proxy.fail(Fault(409, code="OperationAborted"), times=2, method="PUT")
    assert spoiled.replace("a", b"new", expected=b"old")
    assert direct.get("a") == b"new"


@pytest.mark.slow
def test_a_replacement_that_comes_second_is_refused_by_the_store(
    proxy: FaultyProxy, spoiled: ObjectStore, direct: ObjectStore
) -> None:
    """Both have read the same bytes; the second write comes late."""
    direct.put("a", b"old")
    has_read, replaced = threading.Event(), threading.Event()
    passing_on = proxy.pass_on

    def wait_after(*request):
        reply = passing_on(*request)
        has_read.set()
        return reply if replaced.wait(10) else None

    proxy.pass_on = wait_after  # type: ignore[method-assign]
    late_store = ObjectStore(spoiled.spec, replace(QUICK, read_timeout_s=20.0))
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(late_store.replace, "a", b"late", b"old")
        assert has_read.wait(10)
        assert direct.replace("a", b"early", expected=b"old")
        replaced.set()
        assert not late.result()
    assert direct.get("a") == b"early"


def test_a_zombie_that_writes_late_is_told_that_anothers_bytes_are_there(
    proxy: FaultyProxy, uri: str, direct: ObjectStore
) -> None:
    """Its request stands still on the way, another attempt commits, and then it arrives."""
    zombie = ObjectStore(parse_spec(uri, proxy.url), QUICK)
    list(zombie.list())
    arrived = threading.Event()
    passing_on = proxy.pass_on
    proxy.pass_on = lambda *request: arrived.wait(10) and passing_on(*request)  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(zombie.put_if_absent, "shard", b"zombie")
        assert direct.put_if_absent("shard", b"living")
        arrived.set()
        assert not late.result()
    assert direct.get("shard") == b"living"


# Time -----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_large_body_has_as_long_to_be_sent_as_its_size_needs(
    proxy: FaultyProxy, uri: str, direct: ObjectStore
) -> None:
    """The client's read timeout counts from the first byte sent."""
    store = ObjectStore(parse_spec(uri, proxy.url), replace(QUICK, read_timeout_s=0.5, deadline_s=3.0))
    proxy.fail(Fault(delay_s=1.0), times=99, method="PUT")
    with pytest.raises(StoreError, match=r"cannot be reached \(Timeout\)"):
        store.put("small", b"x")
    store.put("large", bytes(40 << 20))
    assert len(direct.get("large")) == 40 << 20


@pytest.mark.slow
def test_a_server_that_is_gone_is_waited_for_and_then_said_so(uri: str) -> None:
    store = ObjectStore(parse_spec(uri, "http://127.0.0.1:9"), replace(QUICK, deadline_s=0.5))
    with pytest.raises(StoreError, match=r"cannot be reached \(Connect\); check output.endpoint_url"):
        store.put_if_absent("a", b"x")
    assert store.num_retries > 3
    with pytest.raises(TryAgain, match="cannot be reached"):
        store.check()


# Listings -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_listing_that_breaks_off_goes_on_behind_its_last_key(
    proxy: FaultyProxy, spoiled: ObjectStore, direct: ObjectStore
) -> None:
    """A page holds 1000 keys."""
    keys = [f"images/{number:04}" for number in range(1100)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: direct.put(key, b""), keys))
    listing = spoiled.list("images/")
    found = [next(listing).key]
    proxy.fail(Fault(503, code="SlowDown"), times=2, method="GET")
    found += [info.key for info in listing]
    assert found == keys
    assert proxy.num_spoiled == 2


def test_a_prefix_may_end_within_a_name(direct: ObjectStore) -> None:
    for key in ("images/ab1", "images/ab2", "images/ac", "index"):
        direct.put(key, b"")
    assert [info.key for info in direct.list("images/ab")] == ["images/ab1", "images/ab2"]
    assert [info.key for info in direct.list("i")] == ["images/ab1", "images/ab2", "images/ac", "index"]


def test_a_foreign_name_that_cannot_be_listed_is_named_and_does_not_fail_a_check(
    s3_endpoint: str, uri: str, direct: ObjectStore
) -> None:
    folder = uri.removeprefix("s3://bucket/")
    boto3.client("s3", endpoint_url=s3_endpoint).put_object(Bucket="bucket", Key=f"{folder}/images//x", Body=b"")
    direct.check()
    with pytest.raises(StoreRefusal, match=r"images//x' has a name with an empty.* move it out of this folder"):
        list(direct.list())


# Regions and credentials ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [Fault(301, code="PermanentRedirect"), Fault(400, code="AuthorizationHeaderMalformed")]
)
def test_a_bucket_in_another_region_is_followed_there(
    proxy: FaultyProxy, spoiled: ObjectStore, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """By what the server says of the bucket; its own region is us-east-1."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    proxy.fail(fault, method="PUT")
    assert spoiled.put_if_absent("a", b"x")
    assert [signed.split("/")[2] for signed in proxy.signed if signed] == ["eu-west-1", "us-east-1"]


def test_a_region_that_cannot_be_found_is_said_so(proxy: FaultyProxy, spoiled: ObjectStore) -> None:
    proxy.fail(Fault(301, code="PermanentRedirect"), times=99)
    with pytest.raises(StoreRefusal, match="set AWS_REGION to its own"):
        spoiled.put("a", b"x")


_PROCESS = """
import datetime, json, pathlib, sys
path = pathlib.Path({count!r})
number = int(path.read_text()) + 1 if path.exists() else 1
path.write_text(str(number))
expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds={lasts_s})
print(json.dumps({{"Version": 1, "AccessKeyId": f"KEY{{number}}", "SecretAccessKey": "secret-of-a-process",
                  "SessionToken": f"token-{{number}}", "Expiration": expires.isoformat()}}))
"""


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a profile of which a process gives credentials, as single sign-on programs do."""
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    config = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "studio")
    return config


def write_profile(config: Path, lasts_s: float, *more: str) -> None:
    script = config.with_name("credentials.py")
    script.write_text(_PROCESS.format(count=str(config.with_name("count")), lasts_s=lasts_s))
    lines = ["[profile studio]", "region = eu-central-1", f"credential_process = {sys.executable} {script}", *more]
    config.write_text("\n".join(lines))


def test_a_profile_gives_credentials_region_and_endpoint(proxy: FaultyProxy, profile: Path, uri: str) -> None:
    write_profile(profile, 3600.0, f"endpoint_url = {proxy.url}")
    ObjectStore(parse_spec(uri), QUICK).put("a", b"x")
    assert [signed.split("/")[0::2][:2] for signed in proxy.signed] == [["KEY1", "eu-central-1"]]


@pytest.mark.slow
def test_credentials_that_expire_are_renewed_before_they_do(
    proxy: FaultyProxy, profile: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """botocore renews those that last less than ten minutes at every look; the client must look often enough."""
    monkeypatch.setattr("darkroom.storage.clouds.RENEWAL_CHECK", timedelta(seconds=0.5))
    write_profile(profile, 300.0)
    store = ObjectStore(parse_spec(uri, proxy.url), QUICK)
    wait_for(lambda: are_signed_alike(store, proxy))
    time.sleep(0.6)
    assert not are_signed_alike(store, proxy)


def are_signed_alike(store: ObjectStore, proxy: FaultyProxy) -> bool:
    """The last request before this one, and this one."""
    store.put("a", b"x")
    return len(set(proxy.signed[-2:])) == 1 < len(proxy.signed)


def test_credentials_that_a_server_calls_expired_end_a_run(proxy: FaultyProxy, spoiled: ObjectStore) -> None:
    spoiled.put("a", b"x")
    proxy.fail(Fault(400, code="ExpiredToken"), times=99)
    with pytest.raises(StoreRefusal, match="the session credentials have expired; renew them"):
        spoiled.put("b", b"x")
    assert spoiled.num_retries == 0


@pytest.mark.slow
@pytest.mark.parametrize("line", ["credential_process = /bin/false", "role_arn = arn:aws:iam::1:role/x"])
def test_a_profile_that_gives_none_is_said_in_one_line(profile: Path, uri: str, line: str, s3_endpoint: str) -> None:
    profile.write_text(f"[profile studio]\n{line}\n")
    store = ObjectStore(parse_spec(uri, s3_endpoint), replace(QUICK, deadline_s=0.5))
    with pytest.raises(StoreError, match=r"credentials cannot be had \(\w+\); check AWS_PROFILE|no credentials found"):
        store.put("a", b"x")


def test_a_profile_that_does_not_exist_is_said_in_one_line(profile: Path, uri: str, s3_endpoint: str) -> None:
    profile.write_text("")
    with pytest.raises(DarkroomError, match=r"ProfileNotFound.*check AWS_PROFILE"):
        ObjectStore(parse_spec(uri, s3_endpoint)).check()


def test_the_commands_endpoint_comes_before_the_environments(
    s3_endpoint: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    ObjectStore(parse_spec(uri, s3_endpoint), QUICK).put("a", b"x")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert ObjectStore(parse_spec(uri), QUICK).get("a") == b"x"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bucket", "lines", "address"),
    [
        ("bucket", ["region = eu-west-1"], "https://bucket.s3.eu-west-1.amazonaws.com/run/a?"),
        ("dotted.name", ["region = eu-west-1"], "https://s3.eu-west-1.amazonaws.com/dotted.name/run/a?"),
        ("bucket", ["region = cn-north-1"], "https://bucket.s3.cn-north-1.amazonaws.com.cn/run/a?"),
        ("bucket", ["region = eu-west-1", "use_dualstack_endpoint = true"], "https://bucket.s3.dualstack.eu-west-1.am"),
        ("bucket", ["region = eu-west-1", "s3 =", "  addressing_style = path"], "https://s3.eu-west-1.amazonaws.com/b"),
    ],
)
def test_amazons_address_is_the_one_that_the_users_settings_say(
    bucket: str, lines: list[str], address: str, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    write_profile(profile, 3600.0)
    kept = [line for line in profile.read_text().splitlines() if not line.startswith("region")]
    profile.write_text("\n".join([*kept, *lines]))
    client = open_client(parse_spec(f"s3://{bucket}/run"), 1.0, 1.0)
    assert obstore.sign(client, "GET", "a", timedelta(minutes=1)).startswith(address)


# Processes ------------------------------------------------------------------------------------------------------------

_FORK = """
import os, sys
from darkroom.domain.errors import DarkroomError
from darkroom.storage.clouds import open_client
from darkroom.storage.objects import ObjectStore
from darkroom.storage.store import parse_spec
store = ObjectStore(parse_spec(sys.argv[1], sys.argv[2]))
if sys.argv[3] == "used":
    store.put("a", b"x")
child = os.fork()
if child == 0:
    try:
        store.put("b", b"x")
        print("written", flush=True)
    except DarkroomError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
store.put("c", b"x")
print("parent goes on", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("use", "said"), [("used", "start processes by spawn"), ("unused", "written")])
def test_a_fork_of_a_process_that_has_used_a_store_is_refused_and_not_left_hanging(
    s3_endpoint: str, uri: str, use: str, said: str
) -> None:
    command = [sys.executable, "-c", _FORK, uri, s3_endpoint, use]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=os.environ)
    assert said in done.stdout
    assert "parent goes on" in done.stdout


# Google and Azure -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["google", "azure"])
def cloud(
    request: pytest.FixtureRequest, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[FaultyProxy, ObjectStore]]:
    """A spoiled way to it, and a store at its end."""
    for name, value in {**AZURE_ACCOUNT, **google_account(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    folder = uri.removeprefix("s3://")
    if request.param == "google":
        with GoogleDialect(request.getfixturevalue("s3_endpoint")) as proxy:
            yield proxy, ObjectStore(parse_spec(f"gs://{folder}", proxy.url), QUICK)
    else:
        with FaultyProxy(request.getfixturevalue("azure")) as proxy:
            account = AZURE_ACCOUNT["AZURE_STORAGE_ACCOUNT_NAME"]
            yield proxy, ObjectStore(parse_spec(f"az://{folder}", f"{proxy.url}/{account}"), QUICK)


@pytest.mark.slow
def test_a_lost_reply_hides_no_success_of_ours_in_any_cloud(cloud: tuple[FaultyProxy, ObjectStore]) -> None:
    proxy, store = cloud
    proxy.fail(Fault(lost_reply=True), times=2, method="PUT")
    assert store.put_if_absent("a", b"ours")
    assert not store.put_if_absent("a", b"theirs")
    proxy.fail(Fault(lost_reply=True), method="PUT")
    assert not store.put_if_absent("a", b"theirs")
    proxy.fail(Fault(lost_reply=True), method="PUT")
    assert store.replace("a", b"new", expected=b"ours")
    assert store.get("a") == b"new"


@pytest.mark.slow
def test_threads_in_a_storm_write_every_object_once_in_any_cloud(cloud: tuple[FaultyProxy, ObjectStore]) -> None:
    proxy, store = cloud
    faults = [Fault(500), Fault(503), Fault(429), Fault(reset=True), Fault(lost_reply=True)]
    proxy.storm(faults, rate=0.3)
    jobs = [(f"k{number}", writer) for number in range(30) for writer in (b"one", b"two")]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda job: store.put_if_absent(*job), jobs))
    proxy.storm((), rate=0.0)
    winners = {key: writer for (key, writer), first in zip(jobs, won, strict=True) if first}
    assert sum(won) == 30
    assert {key: store.get(key) for key, _ in jobs} == winners


def test_a_google_store_that_ignores_conditions_is_refused(
    s3_endpoint: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure signs its conditions, so there is no way to lose them."""
    for name, value in google_account(tmp_path).items():
        monkeypatch.setenv(name, value)
    with GoogleDialect(s3_endpoint) as proxy:
        proxy.ignored = "x-goog-if-generation-match"
        with pytest.raises(DarkroomError, match="ignores conditional puts"):
            ObjectStore(parse_spec(uri.replace("s3:", "gs:"), proxy.url), QUICK).check()


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("gs://bucket/x", "no credentials found; set GOOGLE_APPLICATION_CREDENTIALS"),
        ("az://bucket/x", "no credentials found; set AZURE_STORAGE_ACCOUNT_NAME"),
    ],
)
def test_no_credentials_of_a_cloud_are_said_so(
    uri: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StoreError, match=words):
        ObjectStore(parse_spec(uri), replace(QUICK, deadline_s=0.5)).put("a", b"x")


def test_a_wrong_key_of_azure_is_explained_without_it(azure: str, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "d3Jvbmcgd3Jvbmcgd3Jvbmc="
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", AZURE_ACCOUNT["AZURE_STORAGE_ACCOUNT_NAME"])
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", wrong)
    with pytest.raises(DarkroomError, match="access refused by") as caught:
        ObjectStore(parse_spec(uri.replace("s3:", "az:"), azure), QUICK).check()
    assert wrong not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bucket_that_a_cloud_does_not_have_is_said_so(cloud: tuple[FaultyProxy, ObjectStore]) -> None:
    _, store = cloud
    scheme = store.spec.uri.split(":")[0]
    with pytest.raises(DarkroomError, match="the bucket does not exist; create it"):
        ObjectStore(parse_spec(f"{scheme}://none-such/x", store.spec.endpoint_url), QUICK).check()
