"""A model in a bucket, through the jobs: the images and ids of the same model in a folder, on every node."""

import re
import uuid
from pathlib import Path

import boto3
import pytest

from darkroom.domain import progress
from darkroom.domain.records import Record
from darkroom.runs.reading import records
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import run_here
from tests.rendering.tiny_models import tiny_sd
from tests.servers import FaultyProxy

pytestmark = pytest.mark.slow
UNET = "unet/diffusion_pytorch_model.safetensors"
SMALL = ("sampling.num_inference_steps=2", "sampling.height=32", "sampling.width=32", "engine.batch_size=2",
         "engine.shard_size=2")  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd(tmp_path_factory.mktemp("models") / "mine")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    file.write_text("".join(f"a red circle {number}\n" for number in range(16)))
    return f"prompts.uri={file}"


@pytest.fixture
def uri(model: Path, s3_endpoint: str) -> str:
    client, prefix = boto3.client("s3", endpoint_url=s3_endpoint), uuid.uuid4().hex
    for file in (path for path in model.rglob("*") if path.is_file()):
        key = f"{prefix}/{file.relative_to(model.parent).as_posix()}"
        client.put_object(Bucket="bucket", Key=key, Body=file.read_bytes())
    return f"s3://bucket/{prefix}/{model.name}"


def rendered(run: Path) -> list[tuple[object, ...]]:
    found = sorted(records(open_store(parse_spec(str(run)))), key=_image_id)
    return [(each.image_id, each.cell_id, each.sha256, each.model, each.status) for each in found]


def _image_id(record: Record) -> str:
    return record.image_id


def test_images_and_ids_are_those_of_the_folder(
    model: Path,
    uri: str,
    prompts: str,
    s3_endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "_SAY_AFTER_S", 0.0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, place in {"here": str(model), "there": f"{uri}/"}.items():
        words = (f"model.repo_id={place}", "engine=local", "prompts=file", prompts, *SMALL)
        assert run_here("generate", *words, f"output.uri={tmp_path / name}") == 0
    assert rendered(tmp_path / "there") == rendered(tmp_path / "here")
    assert re.search(rf"^copied (\S+ \wB) of \1 of {uri} \(100 %, ", capsys.readouterr().out, re.MULTILINE)
    assert run_here("verify", f"run={tmp_path / 'there'}", "num_images=2") == 0  # the run knows the address


def test_every_node_of_a_cluster_fetches_it_once(
    model: Path, uri: str, prompts: str, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes with two workers and a cache each, and a driver with a cache of its own."""
    from ray.cluster_utils import Cluster

    from darkroom.engine import cluster

    cluster.stop()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "driver"))
    with FaultyProxy(s3_endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for name in ("first", "second"):
                nodes.add_node(num_cpus=2, env_vars={"XDG_CACHE_HOME": str(tmp_path / name)})
            words = (f"model.repo_id={uri}", "engine=ray", f"engine.address={nodes.address}", "engine.num_workers=4",
                     "prompts=file", prompts, *SMALL)  # fmt: skip
            assert run_here("generate", *words, f"output.uri={tmp_path / 'run'}") == 0
        finally:
            cluster.stop()
            nodes.shutdown()
    assert len(rendered(tmp_path / "run")) == 16
    copies = list(tmp_path.glob(f"*/darkroom/remote/*/{UNET}"))
    assert {path.read_bytes() for path in copies} == {(model / UNET).read_bytes()}
    assert proxy.requests.count(("GET", f"/bucket/{uri.split('/', 3)[3]}/{UNET}")) == len(copies) == 3
