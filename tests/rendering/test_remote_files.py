"""Files in an object store are copied once, whole or not at all, and are what they are anywhere."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import boto3
import pytest
import torch
from safetensors.torch import save_file

from darkroom.domain.adapters import CONTROLNET, VAE, LoraRef
from darkroom.domain.errors import DarkroomError
from darkroom.domain.process import cache_folder
from darkroom.rendering import remote_files
from darkroom.rendering.part_files import CONFIG, digests_of, lora_files, weights_file
from darkroom.storage.input_objects import InputObjects
from darkroom.storage.retry import RetryPolicy
from tests.processes import forks
from tests.rendering.test_part_files import lora
from tests.servers import Fault, FaultyProxy

pytestmark = pytest.mark.slow
Put = Callable[[Mapping[str, Path | bytes]], str]
LABEL = "model.loras x"


@pytest.fixture
def proxy(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """The way to the server, which counts requests; and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with FaultyProxy(s3_endpoint) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


@pytest.fixture
def put(s3_endpoint: str) -> Put:
    """Puts files below one address, which it gives."""
    client, prefix = boto3.client("s3", endpoint_url=s3_endpoint), uuid.uuid4().hex

    def put_all(files: Mapping[str, Path | bytes]) -> str:
        for name, file in files.items():
            body = file if isinstance(file, bytes) else file.read_bytes()
            client.put_object(Bucket="bucket", Key=f"{prefix}/{name}", Body=body)
        return f"s3://bucket/{prefix}"

    return put_all


def num_read(proxy: FaultyProxy, name: str) -> int:
    """Requests for an object's bytes."""
    return sum(method == "GET" and path.split("?")[0].endswith(name) for method, path in proxy.requests)


def test_an_object_and_a_folder_with_it_are_the_file_on_a_disk(proxy: FaultyProxy, put: Put, tmp_path: Path) -> None:
    file = lora(tmp_path / "ink.safetensors")
    uri = put({"ink.safetensors": file, "notes.txt": b"x"})
    [here, there] = [lora_files([LoraRef(str(each))])[0] for each in (file, f"{uri}/ink.safetensors")]
    assert (there.part, there.digests) == (here.part, here.digests)
    assert there.path == f"{uri}/ink.safetensors"
    for place in (uri, f"{uri}/"):
        assert weights_file(place, LABEL).name == "ink.safetensors"
    assert weights_file(uri, LABEL).read_bytes() == file.read_bytes()


def test_what_was_copied_is_not_read_again_until_it_changes(proxy: FaultyProxy, put: Put, tmp_path: Path) -> None:
    uri = put({"ink.safetensors": lora(tmp_path / "a.safetensors")})
    first = weights_file(uri, LABEL)
    count = num_read(proxy, "ink.safetensors")
    assert count > 0
    assert weights_file(uri, LABEL) == first
    assert num_read(proxy, "ink.safetensors") == count
    put({"ink.safetensors": lora(tmp_path / "b.safetensors", 2.0)})
    other = weights_file(uri, LABEL)
    assert other.read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert first.read_bytes() == (tmp_path / "a.safetensors").read_bytes()  # a job that began with it goes on


def test_a_copy_that_was_changed_or_cut_off_is_made_anew(proxy: FaultyProxy, put: Put, tmp_path: Path) -> None:
    file = lora(tmp_path / "a.safetensors")
    copy = weights_file(uri := put({"ink.safetensors": file}), LABEL)
    for broken in (file.read_bytes()[:-1], b"\0" * file.stat().st_size):
        copy.write_bytes(broken)
        assert weights_file(uri, LABEL).read_bytes() == file.read_bytes()
    copy.unlink()
    assert weights_file(uri, LABEL) == copy


def test_a_connection_that_breaks_leaves_nothing_that_is_taken_for_a_copy(
    proxy: FaultyProxy, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_files, "InputObjects", partial(InputObjects, policy=RetryPolicy(0.2, 0.01)))
    uri = put({"ink.safetensors": lora(tmp_path / "a.safetensors")})
    proxy.storm([Fault(truncated=True)], 1.0)
    with pytest.raises(DarkroomError) as caught:
        weights_file(uri, LABEL)
    assert "\n" not in str(caught.value)
    assert list(cache_folder("remote").glob("*/ink.safetensors")) == []
    proxy.storm([], 0.0)
    assert weights_file(uri, LABEL).read_bytes() == (tmp_path / "a.safetensors").read_bytes()


def _fetched(uri: str) -> str:
    return str(weights_file(uri, LABEL))


def test_processes_of_one_machine_copy_it_once(proxy: FaultyProxy, put: Put, tmp_path: Path) -> None:
    uri = put({"ink.safetensors": lora(tmp_path / "a.safetensors")})
    with forks(2) as pool:
        places = pool.map(_fetched, [uri] * 4, chunksize=1)
    assert len(set(places)) == 1
    count = num_read(proxy, "ink.safetensors")
    weights_file(uri, LABEL)
    assert num_read(proxy, "ink.safetensors") == count
    assert list(cache_folder("remote").glob("*/.*.part")) == []


@pytest.mark.parametrize("kind", [VAE, CONTROLNET])
def test_a_network_is_its_two_files_in_a_folder_or_in_a_models_folder(
    proxy: FaultyProxy, put: Put, tmp_path: Path, kind: str
) -> None:
    folder, label = tmp_path / kind, f"model.{kind} x"
    folder.mkdir()
    save_file({"decoder.conv_out.bias": torch.zeros(3)}, folder / "weights.safetensors")
    (folder / CONFIG).write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    files = {CONFIG: folder / CONFIG, "weights.safetensors": folder / "weights.safetensors"}
    alone = put(files)
    assert digests_of(kind, alone, label) == digests_of(kind, str(folder), label)
    put({"sd/model_index.json": b"{}", **{f"sd/{kind}/{name}": file for name, file in files.items()}})
    assert digests_of(kind, f"{alone}/sd", label) == digests_of(kind, alone, label)
    with pytest.raises(DarkroomError, match=rf"model\.{kind} x: no config\.json there"):
        weights_file(put({"ink.safetensors": lora(tmp_path / "a.safetensors")}) + "/ink.safetensors", label, kind)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("/nowhere.safetensors", "nothing lies there; check the address"),
        ("/a.ckpt", "is a pickle, which can run code"),
        ("/two", "has several files (a.safetensors, b.safetensors)"),
        ("/text.safetensors", "cannot be read as safetensors"),
    ],
)
def test_what_is_no_lora_there_is_refused_in_a_line(
    proxy: FaultyProxy, put: Put, tmp_path: Path, name: str, error: str
) -> None:
    file = lora(tmp_path / "a.safetensors")
    uri = put({"a.ckpt": b"x", "text.safetensors": b"x", "two/a.safetensors": file, "two/b.safetensors": file})
    with pytest.raises(DarkroomError) as caught:
        lora_files([LoraRef(uri + name)])
    assert error in str(caught.value)
    assert uri + name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("s3://no-such-bucket-here/a.safetensors", "the bucket does not exist"),
        ("s3:/bucket/a.safetensors", "an address has two slashes; write s3://..."),
        ("ftp://bucket/a.safetensors", "ftp:// is not known here; use a folder, or s3://"),
        ("https://somewhere/a.safetensors", "https:// is not known here"),
        ("s3://key:secret@bucket/a.safetensors", "credentials in an address"),
    ],
)
def test_an_address_that_cannot_be_is_refused_in_a_line(proxy: FaultyProxy, path: str, error: str) -> None:
    with pytest.raises(DarkroomError) as caught:
        lora_files([LoraRef(path)])
    assert str(caught.value).startswith("model.loras")
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_named(
    proxy: FaultyProxy, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = put({"ink.safetensors": lora(tmp_path / "a.safetensors")})
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DarkroomError, match=r"cannot be copied to .*; make room there .* XDG_CACHE_HOME"):
        weights_file(uri, LABEL)
