"""A cluster without a node for workers, whose autoscaler starts nodes for those that wait: Ray's own, on one machine.

`ray.cluster_utils.AutoscalingCluster` ends every Ray of the machine before and after, so the head is started here.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from darkroom.runs.reading import records
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import PAINT, command
from tests.servers import free_port, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.drill]
_LISTS = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
          "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude",
          "rsync_filter")  # fmt: skip


def configuration(address: str) -> dict[str, object]:
    """Of a cluster that may start two nodes with a GPU each."""
    provider = {"type": "fake_multinode", "use_node_id_as_ip": True, "gcs_address": address}
    provider |= {"disable_node_updaters": True, "disable_launch_config_check": True}
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    gpu = {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}
    return {
        "cluster_name": "fake",
        "max_workers": 2,
        "provider": provider,
        "available_node_types": {"ray.head.default": head, "gpu": gpu},
        "head_node_type": "ray.head.default",
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        "file_mounts_sync_continuously": False,
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{name: [] for name in _LISTS},
    }


@pytest.fixture
def head() -> Iterator[dict[str, str]]:
    """The environment of who uses a cluster whose head has no room for a worker."""
    from ray.util import get_node_ip_address

    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="r"))  # sockets lie below it, whose paths have to be short
    port = free_port()
    address = f"{get_node_ip_address()}:{port}"
    (folder / "cluster.json").write_text(json.dumps(configuration(address)))
    start = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=0"),
        *(f"--port={port}", f"--autoscaling-config={folder / 'cluster.json'}", f"--temp-dir={folder}"),
        *("--include-dashboard=false", "--dashboard-agent-listen-port=0", f"--ray-client-server-port={free_port()}"),
        *("--min-worker-port=0", "--max-worker-port=0"),
    ]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    environment = {**os.environ, **token, "RAY_ADDRESS": address}
    process = subprocess.Popen(
        start,
        env={**environment, "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(port, process)
        yield environment
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_run_starts_the_nodes_that_it_needs_and_finishes(head: dict[str, str], tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"a red circle {number}\n" for number in range(40)))
    words = [word for word in PAINT if word != "engine=local"]
    words += ["prompts=file", f"prompts.uri={prompts}", f"output.uri={tmp_path / 'run'}", "engine.shard_size=2"]
    words += ["engine=ray", "engine.device=cpu", "engine.num_gpus=1"]

    def generate(*more: str) -> subprocess.CompletedProcess:
        return subprocess.run(command("generate", *words, *more), env=head, capture_output=True, text=True, timeout=200)

    refused = generate()
    assert refused.returncode == 2
    assert "engine.num_workers to wait for nodes that the cluster starts on demand" in refused.stderr
    done = generate("engine.num_workers=2")
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    found = list(records(open_store(parse_spec(str(tmp_path / "run")))))
    assert [record.status for record in found] == ["ok"] * 40
    asked = [sys.executable, "-c", "import ray; ray.init(); print([node['Resources'] for node in ray.nodes()])"]
    nodes = subprocess.run(asked, env=head, capture_output=True, text=True, timeout=60, check=True).stdout
    assert 1 <= nodes.count("'GPU': 1.0") <= 2
