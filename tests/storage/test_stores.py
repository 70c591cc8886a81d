"""One contract for every store, kept by each of them."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.storage.local import LocalStore
from darkroom.storage.store import NotFound, Store, StoreSpec, open_store, parse_spec
from tests.servers import FaultyProxy, make_bucket, ministack_server
from tests.storage.clouds import AZURE_ACCOUNT, google_account


@pytest.fixture(scope="module")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("ministack", reason="ministack is not installed")
    with ministack_server(tmp_path_factory.mktemp("ministack")) as url:
        make_bucket(url, "bucket")
        yield url


@pytest.fixture(scope="module")
def moto(s3_endpoint: str) -> Iterator[str]:
    """Moto looks for an object and puts it in two steps: the proxy hands it one put after the other, as if in one."""
    with FaultyProxy(s3_endpoint) as proxy:
        yield proxy.url


@pytest.fixture(params=["local", "moto", "ministack", "google", "azure"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "local":
        return open_store(parse_spec(str(tmp_path / "store")))
    for name, value in {**AZURE_ACCOUNT, **google_account(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    endpoint = request.getfixturevalue(request.param)
    scheme = {"google": "gs", "azure": "az"}.get(request.param, "s3")
    return open_store(parse_spec(f"{scheme}://bucket/{uuid.uuid4().hex}/run", endpoint))


def test_an_object_is_what_was_put(store: Store) -> None:
    store.put("images/a.png", b"one")
    store.put("images/a.png", b"two")
    assert store.get("images/a.png") == b"two"


def test_an_absent_object_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        store.get("images/none.png")


def test_the_second_conditional_put_leaves_the_first_ones_bytes(store: Store) -> None:
    assert store.put_if_absent("a", b"first")
    assert not store.put_if_absent("a", b"second")
    assert store.get("a") == b"first"


def test_replace_writes_only_over_what_was_expected(store: Store) -> None:
    assert not store.replace("a", b"new", expected=b"old")
    store.put("a", b"old")
    assert store.replace("a", b"new", expected=b"old")
    assert not store.replace("a", b"newer", expected=b"old")
    assert store.get("a") == b"new"


def test_list_gives_keys_in_order_below_a_prefix(store: Store) -> None:
    for key in ("b/2", "b/1/x", "a/1", "bc", "b/10"):
        store.put(key, b"12345")
    assert [info.key for info in store.list("b/")] == ["b/1/x", "b/10", "b/2"]
    assert {info.size_bytes for info in store.list()} == {5}
    assert len(list(store.list())) == 5
    assert list(store.list("none/")) == []


def test_deleted_objects_are_gone(store: Store) -> None:
    store.put("a", b"")
    store.put("b", b"")
    store.delete(["a", "never-there"])
    assert [info.key for info in store.list()] == ["b"]


def test_one_of_many_racing_threads_wins(store: Store) -> None:
    wins: list[bytes] = []
    barrier = threading.Barrier(12)

    def race(name: bytes) -> None:
        barrier.wait()
        if store.put_if_absent("prize", name):
            wins.append(name)

    threads = [threading.Thread(target=race, args=(str(number).encode(),)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wins == [store.get("prize")]


def test_a_store_travels_between_processes(store: Store) -> None:
    store.put("a", b"x")
    assert pickle.loads(pickle.dumps(store)).get("a") == b"x"


def test_check_accepts_a_store_and_leaves_nothing_in_it(store: Store) -> None:
    store.check()
    assert list(store.list()) == []


@pytest.mark.slow
def test_many_jobs_may_check_a_store_at_once(store: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: store.check(), range(4))) == [None] * 4


def test_a_check_for_reading_writes_nothing(store: Store) -> None:
    store.put("a", b"x")
    store.check(writing=False)
    assert [info.key for info in store.list()] == ["a"]


def test_what_is_hidden_or_no_key_of_ours_is_not_listed(store: Store) -> None:
    store.put("a/b", b"x")
    store.put("a/.tmp-1", b"x")
    assert [info.key for info in store.list()] == ["a/b"]
    assert [info.key for info in store.list("a/")] == ["a/b"]


def test_arrow_reads_ranges_of_an_object(store: Store) -> None:
    store.put("metadata/a.parquet", b"0123456789")
    if store.spec.uri.startswith(("gs:", "az:")):
        with pytest.raises(DarkroomError, match="references are read from a folder or s3://; copy them"):
            store.filesystem()
        return
    filesystem, root = store.filesystem()
    with filesystem.open_input_file(f"{root}/metadata/a.parquet") as file:
        assert file.read_at(3, 4) == b"456"


def test_a_listing_gives_times_in_utc(store: Store) -> None:
    store.put("a", b"x")
    (info,) = store.list()
    assert abs(datetime.now(UTC) - info.modified) < timedelta(minutes=5)


def test_a_key_cannot_leave_the_prefix(store: Store) -> None:
    bad = [
        "../x",
        "/x",
        "a/../b",
        "a/./b",
        "..",
        "",
        "a//b",
        "a/",
        "a b",
        "a\\b",
        "ä",
        "a\n",
        "x" * 300,
        "x/" * 300 + "x",
    ]
    for key in bad:
        with pytest.raises(ValueError):
            store.put(key, b"")
        with pytest.raises(ValueError):
            store.get(key)


@pytest.mark.slow
def test_a_killed_put_leaves_no_part_of_an_object(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom darkroom.storage.store import open_store\nfrom darkroom.storage.store import parse_spec\n"
        "s = open_store(parse_spec(sys.argv[1]))\n"
        "print('ready', flush=True)\nfor i in range(10**6): s.put_if_absent(f'k/{i}', bytes([i % 256]) * 3_000_000)"
    )
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout
        process.stdout.readline()
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    store = LocalStore(StoreSpec(str(tmp_path)))
    found = list(store.list())
    assert found
    assert {info.size_bytes for info in found} == {3_000_000}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("uri", "endpoint", "words"),
    [
        ("s3://no-such-bucket/x", "moto", "bucket does not exist"),
        ("s3://bucket/x", "http://127.0.0.1:9", "cannot be reached"),
        ("s3://key:secret@bucket/x", None, "credentials in an address"),
        ("s3:///x", None, "without a bucket"),
        ("ftp://bucket/x", None, "ftp:// is not known here; use a folder, or s3://bucket/prefix"),
        ("gs://", None, "gs:// without a bucket"),
        ("az://container/../x", None, "write az://bucket/prefix"),
        ("", None, "is empty"),
        ("s3://bucket/a/../b", None, "no usable address"),
        ("file://folder/x", None, "three slashes"),
        ("s3://bucket/x", "127.0.0.1:4566", "write it like http"),
        ("s3://bucket/x", "http://key:secret@127.0.0.1:4566", "credentials in an address"),
    ],
)
def test_a_bad_address_is_said_in_one_line(uri: str, endpoint: str | None, words: str, s3_endpoint: str) -> None:
    with pytest.raises(DarkroomError, match=words) as caught:
        open_store(parse_spec(uri, s3_endpoint if endpoint == "moto" else endpoint)).check()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DarkroomError, match="is a file"):
        open_store(parse_spec(str(tmp_path / "file"))).check()


def test_no_credentials_are_said_so(monkeypatch: pytest.MonkeyPatch, s3_endpoint: str, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(DarkroomError, match="no credentials found"):
        open_store(parse_spec("s3://bucket/x", s3_endpoint)).check()


@pytest.mark.parametrize(
    ("variable", "value", "uri", "said"),
    [
        ("AWS_ENDPOINT_URL", "nonsense", "s3://bucket/run", "AWS_ENDPOINT_URL, or .* no usable address"),
        (
            "AWS_ENDPOINT_URL",
            "http://me:secret@host",
            "s3://bucket/run",
            "AWS_ENDPOINT_URL, .* credentials in an address",
        ),
        (
            "GOOGLE_APPLICATION_CREDENTIALS",
            "/nowhere.json",
            "gs://bucket/run",
            "/nowhere.json: the file cannot be read",
        ),
        ("AZURE_STORAGE_ACCOUNT_KEY", "not base64!", "az://box/run", "AZURE_STORAGE_ACCOUNT_KEY is not in base64"),
    ],
)
def test_a_variable_of_the_environment_that_cannot_serve_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, uri: str, said: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "name")
    monkeypatch.setenv(variable, value)
    with pytest.raises(DarkroomError, match=said) as caught:
        open_store(parse_spec(uri)).check()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["s3:/bucket/run", "gs:/bucket", "file:/folder"])
def test_an_address_that_lost_a_slash_is_no_folder(uri: str) -> None:
    with pytest.raises(DarkroomError, match="an address has two slashes"):
        parse_spec(uri)
