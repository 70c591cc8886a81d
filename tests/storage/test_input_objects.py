"""Objects that other programs wrote, whatever they are called: listed, and read in ranges of one version."""

import time
import uuid
from dataclasses import replace

import boto3
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.storage import input_objects
from darkroom.storage.input_objects import InputObjects, folders_of
from darkroom.storage.objects import ObjectStore
from darkroom.storage.store import StoreError, StoreSpec, parse_spec
from tests.storage.clouds import AZURE_ACCOUNT, google_account
from tests.storage.conftest import QUICK


@pytest.fixture(params=["s3", "gs", "az"])
def spec(request: pytest.FixtureRequest, tmp_path, monkeypatch: pytest.MonkeyPatch) -> StoreSpec:
    scheme = request.param
    for name, value in {**google_account(tmp_path), **AZURE_ACCOUNT}.items():
        monkeypatch.setenv(name, value)
    server = request.getfixturevalue({"s3": "s3_endpoint", "gs": "google", "az": "azure"}[scheme])
    return parse_spec(f"{scheme}://bucket/{uuid.uuid4().hex}", server)


@pytest.mark.slow
def test_a_folder_is_listed_with_and_without_those_in_it(spec: StoreSpec) -> None:
    store = ObjectStore(spec)
    for key in ("model_index.json", "unet/config.json", "unet/a.safetensors"):
        store.put(key, key.encode())
    found = InputObjects(spec)
    assert [each.key for each in found.in_folder("")] == ["model_index.json"]
    assert {each.key for each in found.in_folder("unet")} == {"unet/config.json", "unet/a.safetensors"}
    assert {each.key: each.size_bytes for each in found.below("")} == {
        "model_index.json": 16,
        "unet/config.json": 16,
        "unet/a.safetensors": 18,
    }
    assert list(found.below("vae")) == []


@pytest.mark.slow
def test_a_range_is_of_the_version_that_was_found(spec: StoreSpec) -> None:
    store, reader = ObjectStore(spec), InputObjects(spec)
    store.put("a.safetensors", b"0123456789")
    found = reader.find("a.safetensors")
    assert found
    assert reader.find("b.safetensors") is None
    assert found.version == next(reader.below("")).version
    assert reader.read(found, 2, 5) == b"234"
    store.put("a.safetensors", b"9876543210")
    with pytest.raises(DarkroomError, match=r"a\.safetensors: changed since it was listed"):
        reader.read(found, 2, 5)
    assert reader.find("a.safetensors") != found
    store.delete(["a.safetensors"])
    with pytest.raises(DarkroomError, match="changed since it was listed"):
        reader.read(found, 2, 5)


def test_names_that_darkroom_would_not_give_are_read(s3_endpoint: str) -> None:
    prefix = uuid.uuid4().hex
    client = boto3.client("s3", endpoint_url=s3_endpoint)
    for name in ("über alles (1).json", "a+b=c.txt", "[x].bin"):
        client.put_object(Bucket="bucket", Key=f"{prefix}/{name}", Body=name.encode())
    reader = InputObjects(parse_spec(f"s3://bucket/{prefix}", s3_endpoint))
    for each in reader.below(""):
        assert reader.read(each, 0, each.size_bytes).decode() == each.key


def test_a_bucket_that_is_not_there_is_no_empty_folder(s3_endpoint: str) -> None:
    reader = InputObjects(parse_spec("s3://no-such-bucket-here/a", s3_endpoint))
    assert reader.find("b") is None
    with pytest.raises(StoreError, match="the bucket does not exist"):
        reader.in_folder("")
    with pytest.raises(StoreError, match="the bucket does not exist"):
        list(reader.below(""))


def test_every_folder_above_a_file_is_one() -> None:
    assert folders_of(["a.json", "unet/a.json", "x/y/z.bin"]) == {"unet", "x", "x/y"}


def test_a_server_that_never_answered_is_soon_given_up_and_one_that_did_is_waited_for(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_objects, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(input_objects, "_answered", set())  # by the servers of other tests
    nobody = "http://127.0.0.1:9"
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
    began = time.monotonic()
    with pytest.raises(StoreError, match=rf"{nobody} cannot be reached \(Connect\)"):
        InputObjects(parse_spec("s3://bucket/model"), replace(QUICK, deadline_s=60)).find("a")
    assert time.monotonic() - began < 30
    assert InputObjects(parse_spec("s3://bucket/model", s3_endpoint)).find("a") is None
    assert ("s3", s3_endpoint) in input_objects._answered
    monkeypatch.setattr(input_objects, "_answered", {("s3", None)})
    began = time.monotonic()
    with pytest.raises(StoreError, match="cannot be reached"):
        InputObjects(parse_spec("s3://bucket/model"), replace(QUICK, deadline_s=1.0)).find("a")
    assert time.monotonic() - began > 0.9
