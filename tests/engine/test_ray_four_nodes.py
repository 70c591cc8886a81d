"""Four nodes with a GPU each, as Ray is told: one has other weights, one joins late, one is taken back, one is killed.

`pytest --drill -s` shows what the job says.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from darkroom.runs import manifest
from darkroom.runs.reading import records
from darkroom.storage.store import open_store, parse_spec
from tests.engine.test_ray_dispatcher_models import scale_unet
from tests.faults.ray_drills import drain
from tests.jobs.helpers import command, run_here
from tests.rendering.tiny_models import hub_copy, tiny_sd

pytestmark = [pytest.mark.slow, pytest.mark.drill]
NUM_PROMPTS, SHARD_SIZE = 240, 4
NUM_COMPARED = 24  # of the first prompts, which are rendered by one worker too
MODEL = "someone/tiny"


@dataclass(frozen=True)
class Hubs:
    """Caches of the hub, as nodes of their own would have them."""

    good: Path
    other: Path  # with other weights under the same name


@pytest.fixture
def hubs(tmp_path: Path) -> Hubs:
    model = tiny_sd(tmp_path / "model")
    found = Hubs(tmp_path / "good", tmp_path / "other")
    hub_copy(model, MODEL, found.good)
    hub_copy(scale_unet(Path(shutil.copytree(model, tmp_path / "scaled")), 1.5), MODEL, found.other)
    return found


@pytest.fixture
def nodes(no_ray: None) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield found
    found.shutdown()


def environment(hub: Path) -> dict[str, str]:
    return {"HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"}


def images(run: Path) -> dict[str, str | None]:
    return {record.image_id: record.sha256 for record in records(open_store(parse_spec(str(run))))}


def test_a_run_on_four_nodes_is_the_run_that_one_worker_makes(
    nodes: Any, hubs: Hubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, some, run = tmp_path / "prompts.txt", tmp_path / "some.txt", tmp_path / "run"
    lines = [f"a red circle {number}\n" for number in range(NUM_PROMPTS)]
    prompts.write_text("".join(lines))
    some.write_text("".join(lines[:NUM_COMPARED]))
    words = [f"model.repo_id={MODEL}", "prompts=file", f"engine.shard_size={SHARD_SIZE}",
             "engine.batch_size=4", "sampling.num_inference_steps=30", "sampling.height=64", "sampling.width=64",
             "engine.device=cpu"]  # fmt: skip

    def add(hub: Path) -> Any:
        return nodes.add_node(num_cpus=1, num_gpus=1, env_vars=environment(hub))

    killed, _, leaving = add(hubs.good), add(hubs.other), add(hubs.good)
    on_ray = ["engine=ray", f"engine.address={nodes.address}", "engine.num_gpus=1", f"prompts.uri={prompts}",
              f"output.uri={run}"]  # fmt: skip
    said = (tmp_path / "said.txt").open("w+")
    job = subprocess.Popen(
        command("generate", *words, *on_ray), env={**os.environ, **environment(hubs.good)}, stdout=said, stderr=said
    )
    store = open_store(parse_spec(str(run)))

    def done(share: float) -> None:
        """Wait until this share of the shards is committed."""
        deadline = time.monotonic() + 400
        while sum(1 for _ in manifest.committed(store)) < share * NUM_PROMPTS / SHARD_SIZE:
            assert job.poll() is None, (tmp_path / "said.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def note(text: str) -> None:
        said.write(f"-- {text}\n")
        said.flush()

    done(0.05)
    note("a fourth node joins")
    add(hubs.good)
    done(0.3)
    note("the cloud takes a node back")
    drain(nodes.address, leaving.node_id)
    done(0.5)
    note("a node is killed")
    nodes.remove_node(killed, allow_graceful=False)
    assert job.wait(400) == 0
    text = (tmp_path / "said.txt").read_text()
    print(text)
    assert "WrongModel: model.repo_id=someone/tiny: on " in text
    assert "its node is about to leave" in text
    assert text.count("is ready (") >= 3
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hubs.good))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert run_here("generate", *words, "engine=local", f"prompts.uri={some}", f"output.uri={tmp_path / 'one'}") == 0
    found = images(run)
    assert len(found) == NUM_PROMPTS
    assert len(images(tmp_path / "one").items() & found.items()) == NUM_COMPARED
