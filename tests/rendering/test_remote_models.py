"""Models in an object store: the same identity and pixels as from a folder, each file fetched once a machine."""

import json
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import boto3
import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from darkroom.domain import progress
from darkroom.domain.errors import DarkroomError, TryAgain, WrongModel
from darkroom.domain.process import cache_folder
from darkroom.domain.progress import FilesCopied, told_of_copies
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering import remote_files
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.model_files import shaping_files, shaping_names
from darkroom.rendering.model_places import prefetch
from darkroom.rendering.renderer import RendererSpec, load_renderer
from darkroom.storage.input_objects import InputObjects, folders_of
from darkroom.storage.retry import RetryPolicy
from tests.processes import forks, wait_for
from tests.rendering.helpers import Models
from tests.rendering.tiny_models import tiny_refiner
from tests.rendering.tiny_single_file import single_file
from tests.servers import Fault, FaultyProxy

pytestmark = pytest.mark.slow
Upload = Callable[..., str]
Move = Callable[[], None]
REQUEST = ImageRequest("a", "a red circle", 1, Sampling("default", 5.0, 2, 32, 32))
UNET = "unet/diffusion_pytorch_model.safetensors"
RANGE_BYTES = 4096


@pytest.fixture
def proxy(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """The way to the server, which counts requests."""
    monkeypatch.setattr(remote_files, "_RANGE_BYTES", RANGE_BYTES)
    with FaultyProxy(s3_endpoint) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


@pytest.fixture
def to_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Move:
    """From now on the cache is one that is empty; it is from the beginning."""

    def move() -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / uuid.uuid4().hex))

    move()
    return move


@pytest.fixture
def upload(s3_endpoint: str) -> Upload:
    """Copies a folder, or a file, to an address of the same name, a new one each time, which it gives."""
    client = boto3.client("s3", endpoint_url=s3_endpoint)

    def put(place: Path, prefix: str = "") -> str:
        prefix = prefix or uuid.uuid4().hex
        files = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
        for file in files:
            key = f"{prefix}/{file.relative_to(place.parent).as_posix()}"
            client.put_object(Bucket="bucket", Key=key, Body=file.read_bytes())
        return f"s3://bucket/{prefix}/{place.name}"

    return put


def inspected(place: str | Path, **more: object) -> InspectedModel:
    return inspect_model(ModelRef(str(place), **more), "cpu")  # type: ignore[arg-type]


def pixels(model: InspectedModel) -> np.ndarray:
    [image] = load_renderer(RendererSpec(model, "cpu", 2)).render([REQUEST])
    assert image.pixels is not None
    return image.pixels


def num_reads(proxy: FaultyProxy, name: str) -> int:
    return sum(method == "GET" and path.split("?")[0].endswith(name) for method, path in proxy.requests)


def num_ranges(model: Path, name: str) -> int:
    return -(-(model / name).stat().st_size // RANGE_BYTES)


def scaled(model: Path, folder: Path, by: float) -> Path:
    """The model with other weights, and files of the same sizes."""
    shutil.copytree(model, folder)
    tensors = load_file(folder / UNET)
    save_file({name: tensor * by for name, tensor in tensors.items()}, folder / UNET, {"format": "pt"})
    return folder


def test_it_is_the_model_of_the_folder_wherever_it_is_loaded(
    models: Models, proxy: FaultyProxy, upload: Upload, to_another_machine: Move
) -> None:
    here, uri = inspected(models["sd"]), upload(models["sd"])
    there = inspected(uri)
    assert (there.identity, there.digests) == (here.identity, here.digests)
    assert (there.source, there.revision) == (uri, None)
    for name in (UNET, "model_index.json"):
        assert num_reads(proxy, name) == num_ranges(models["sd"], name) + (name == "model_index.json")
    proxy.requests.clear()
    assert np.array_equal(pixels(there), pixels(here))
    assert inspected(uri) == there
    assert num_reads(proxy, UNET) == 0
    to_another_machine()
    assert np.array_equal(pixels(there), pixels(here))
    assert num_reads(proxy, UNET) == num_ranges(models["sd"], UNET)


def test_other_weights_at_its_address_are_refused_where_they_are_loaded_and_another_model(
    models: Models, proxy: FaultyProxy, upload: Upload, to_another_machine: Move, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(models["sd"], folder)
    uri = upload(folder)
    began = inspected(uri)
    shutil.rmtree(folder)
    upload(scaled(models["sd"], folder, 1.5), uri.split("/")[3])
    assert inspected(uri).identity.revision == inspected(folder).identity.revision != began.identity.revision
    with pytest.raises(WrongModel, match=rf"model\.repo_id=mine: on \S+, {UNET} in \S+ is sha256:\w+ and not"):
        pixels(began)


def test_what_is_not_read_of_a_folder_is_not_fetched(
    models: Models, proxy: FaultyProxy, upload: Upload, to_another_machine: Move, tmp_path: Path
) -> None:
    folder = shutil.copytree(models["sd"], tmp_path / "mine")
    for name in ("whole.ckpt", "README.md", "unet/model.bin", ".gitattributes", "notes/a.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x" * 100)
    model = inspected(upload(folder))
    assert model.identity.revision == inspected(folder).identity.revision == inspected(models["sd"]).identity.revision
    assert not [path for method, path in proxy.requests if path.endswith((".ckpt", ".md", ".bin", "notes/a.json"))]


@pytest.mark.parametrize("trusts_code", [False, True])
def test_names_alone_say_what_shapes_pixels(models: Models, tmp_path: Path, trusts_code: bool) -> None:
    folder = shutil.copytree(models["sd"], tmp_path / "mine")
    index = json.loads((folder / "model_index.json").read_text())
    for without in ((), ("scheduler",)):  # then files of the model's folder itself are read
        for name in without:
            shutil.rmtree(folder / name)
        for name in ("a.py", "b.json", "c.bin", "other/d.json", "unet/e.md", "unet/deep/f.json"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("{}")
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        components = [name for name, value in index.items() if isinstance(value, list) and value[0]]
        wanted = shaping_files(folder, trusts_code)
        assert shaping_names(names, folders_of(names), components, trusts_code) == wanted
        assert ("b.json" in wanted) == (trusts_code or bool(without))
        assert ("other/d.json" in wanted) == trusts_code


def _revision(uri: str) -> str:
    """Of the model, fetched in a process of its own."""
    remote_files._RANGE_BYTES = RANGE_BYTES
    return inspected(uri).identity.revision


def test_two_processes_at_once_fetch_each_file_once(
    models: Models, proxy: FaultyProxy, upload: Upload, to_another_machine: Move
) -> None:
    uri = upload(models["sd"])
    proxy.storm([Fault(delay_s=0.05)], 1.0)
    with forks(2) as pool:
        found = pool.map(_revision, [uri] * 2, chunksize=1)
    assert set(found) == {inspected(models["sd"]).identity.revision}
    assert num_reads(proxy, UNET) == num_ranges(models["sd"], UNET)


def test_a_process_that_is_killed_leaves_what_it_fetched_to_the_next(
    models: Models, proxy: FaultyProxy, upload: Upload, to_another_machine: Move
) -> None:
    uri, total = upload(models["sd"]), num_ranges(models["sd"], UNET)
    assert total > 20, "the file is too small to be cut off in its middle"
    proxy.storm([Fault(delay_s=0.3)], 1.0)
    with forks(1) as pool:
        [killed] = pool._pool
        pool.apply_async(_revision, (uri,))
        wait_for(lambda: num_reads(proxy, UNET) >= total // 2)
        killed.kill()
        killed.join()
    wait_for(lambda: proxy.num_connections == 0)  # its last requests have arrived
    proxy.storm([], 0.0)
    written = sum(path.stat().st_size for path in cache_folder("remote").glob("*/.*.part"))
    assert 0 < written < (models["sd"] / UNET).stat().st_size
    assert not list(cache_folder("remote").glob(f"*/{UNET}"))
    proxy.requests.clear()
    assert inspected(uri).identity.revision == inspected(models["sd"]).identity.revision
    assert num_reads(proxy, UNET) == total - written // RANGE_BYTES
    assert num_reads(proxy, "vae/config.json") == 0  # it was there whole


def test_a_connection_that_breaks_leaves_nothing_that_is_taken_for_a_model(
    models: Models, proxy: FaultyProxy, upload: Upload, to_another_machine: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_files, "InputObjects", partial(InputObjects, policy=RetryPolicy(0.2, 0.01)))
    uri = upload(models["sd"])
    proxy.storm([Fault(truncated=True)], 0.5)
    with pytest.raises(TryAgain, match=r"^model\.repo_id: s3://") as caught:
        inspected(uri)
    assert "\n" not in str(caught.value)
    proxy.storm([], 0.0)
    assert inspected(uri).identity.revision == inspected(models["sd"]).identity.revision


def test_a_copy_that_was_damaged_is_mended(
    models: Models, proxy: FaultyProxy, upload: Upload, to_another_machine: Move
) -> None:
    model = inspected(upload(models["sd"]))
    [copy] = cache_folder("remote").glob(f"*/{UNET}")
    copy.write_bytes(b"\0" * copy.stat().st_size)
    proxy.requests.clear()
    assert np.array_equal(pixels(model), pixels(inspected(models["sd"])))
    assert num_reads(proxy, UNET) == num_ranges(models["sd"], UNET)
    assert num_reads(proxy, "diffusion_pytorch_model.safetensors") == num_reads(proxy, UNET)  # not the VAE's


def test_what_is_no_model_there_is_refused_before_weights_are_fetched(
    models: Models, proxy: FaultyProxy, upload: Upload, to_another_machine: Move, tmp_path: Path
) -> None:
    def changed(name: str, change: Callable[[Path], object]) -> str:
        change(folder := shutil.copytree(models["sd"], tmp_path / name))
        return upload(folder)

    places = {
        "s3://bucket/nowhere/sd15": "nothing lies there; check the address, or copy it there",
        "s3://no-such-bucket-here/sd15": "the bucket does not exist",
        "ftp://somewhere/sd15": "is an address, and of no object store; give a folder, s3://bucket/",
        "s3:/bucket/sd15": "an address has two slashes; write s3://",
        changed("a", lambda folder: (folder / "model_index.json").unlink()): "no model_index.json there",
        changed("b", lambda folder: (folder / "model_index.json").write_text("{")): "is not JSON",
        changed("c", lambda folder: (folder / UNET).rename(folder / "unet/a.bin")): "has its weights as a pickle",
        changed("d", lambda folder: (folder / UNET).unlink()): "unet has no safetensors weights",
        f"{upload(models['sd'])}/model_index.json": "one file, and no folder in diffusers' layout",
    }
    for place, error in places.items():
        with pytest.raises(DarkroomError) as caught:
            inspected(place)
        assert error in str(caught.value)
        assert str(caught.value).startswith("model.repo_id")
        assert "\n" not in str(caught.value)
    assert num_reads(proxy, ".safetensors") == 0


def test_rights_that_are_missing_are_named_with_the_address(
    models: Models, proxy: FaultyProxy, upload: Upload, to_another_machine: Move
) -> None:
    uri = upload(models["sd"])
    proxy.storm([Fault(status=403, code="AccessDenied")], 1.0)
    with pytest.raises(DarkroomError, match=r"s3://bucket/\w+.*: access refused by .*check the credentials"):
        inspected(uri)


def test_who_may_list_its_folder_alone_reads_it(
    models: Models, proxy: FaultyProxy, upload: Upload, to_another_machine: Move
) -> None:
    """Amazon refuses to say that there is no object of a name, where the right to list is of a folder."""
    uri = upload(models["sd"])
    proxy.fail(Fault(status=403, code="AccessDenied"), times=1000, method="HEAD")
    assert inspected(uri).identity == inspected(models["sd"]).identity
    with pytest.raises(DarkroomError, match="access refused by"):
        inspected(f"{uri}/nowhere")


def test_a_full_disk_is_seen_before_anything_is_fetched(
    models: Models, proxy: FaultyProxy, upload: Upload, to_another_machine: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = upload(models["sd"])
    monkeypatch.setattr("shutil.disk_usage", lambda place: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(DarkroomError, match=r"needs [\d.]+ [kM]B in .*, which has room for 1\.0 B; make room there"):
        inspected(uri)
    assert num_reads(proxy, ".safetensors") == 0


def test_a_copy_that_takes_a_while_says_how_far_it_is(
    models: Models, proxy: FaultyProxy, upload: Upload, to_another_machine: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SAY_AFTER_S", 0.0)
    monkeypatch.setattr(progress, "_SAY_EVERY_S", 0.0)
    uri, said = upload(models["sd"]), list[FilesCopied]()
    with told_of_copies(said.append):
        inspected(uri)
    assert [each.uri for each in said] == [uri] * len(said)
    assert len(said) > 2
    assert said[-1].num_bytes == said[-1].total_bytes > (models["sd"] / UNET).stat().st_size
    assert f"of {uri} (100 %, " in str(said[-1])


def test_a_single_file_is_converted_by_each_machine(
    models: Models, proxy: FaultyProxy, upload: Upload, to_another_machine: Move, tmp_path: Path
) -> None:
    file = single_file(models["sd"], tmp_path / "mine.safetensors")
    local = inspected(models["sd"], single_file=str(file))
    remote = inspected(upload(models["sd"]), single_file=upload(file))
    assert remote.identity == local.identity
    assert num_reads(proxy, UNET) == 0  # of a configuration no weights are needed
    wanted = pixels(inspected(models["sd"]))
    for model in (local, remote):
        to_another_machine()
        assert np.array_equal(pixels(model), wanted)
    assert remote.single_file
    to_another_machine()
    other = replace(remote, single_file=replace(remote.single_file, revision="sha256:0"))
    with pytest.raises(WrongModel, match=r"model\.single_file=s3://\S+: on \S+, it or its configuration"):
        pixels(other)


def test_models_for_later_are_fetched_while_the_first_renders(
    models: Models, proxy: FaultyProxy, upload: Upload, to_another_machine: Move
) -> None:
    later = [inspected(upload(models[name])) for name in ("sd", "sdxl")]
    to_another_machine()
    proxy.requests.clear()
    prefetch([inspected(models["sd3"]), *later])
    wait_for(lambda: num_reads(proxy, UNET) >= sum(num_ranges(models[name], UNET) for name in ("sd", "sdxl")))
    for thread in [each for each in threading.enumerate() if each.name == "prefetch"]:
        thread.join(60)
    proxy.requests.clear()
    assert pixels(later[0]).shape == (32, 32, 3)
    assert num_reads(proxy, UNET) == 0


def test_a_refiner_is_one_too(
    models: Models, proxy: FaultyProxy, upload: Upload, to_another_machine: Move, tmp_path: Path
) -> None:
    refiner = tiny_refiner(tmp_path / "refiner")
    there = inspected(models["sdxl"], refiner=upload(refiner))
    assert there.identity == inspected(models["sdxl"], refiner=str(refiner)).identity
