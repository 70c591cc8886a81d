"""Jobs that are submitted to a real Ray with its dashboard, behind a token."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from darkroom.engine.metrics import METRICS
from tests.jobs.helpers import PAINT, command
from tests.servers import free_port, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.drill, pytest.mark.timeout(600)]
SECRET = "secret-of-the-submitter"
HEAD, EXPORTED = "HEAD_OF_TEST", "EXPORTED_OF_TEST"  # variables of the tests alone
WORDS = (
    *PAINT[:1],
    *PAINT[2:],
    "engine.num_workers=1",
    "prompts=template",
    "prompts.pattern=a {x}",
    "prompts.slots={x: [a, b]}",
)


@pytest.fixture(scope="module")
def head() -> Iterator[dict[str, str]]:
    """A head with two CPUs; the environment of those who may use it."""
    folder = tempfile.mkdtemp(dir="/tmp", prefix="r")  # sockets lie below it, whose paths have to be short
    program = Path(sys.executable).parent
    port, dashboard, metrics = free_port(), free_port(), free_port()
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    token |= {"RAY_metrics_report_interval_ms": "1000"}
    environment = {**os.environ, **token, "PATH": f"{program}:{os.environ['PATH']}"}
    start = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        "--num-cpus=2",
        "--node-ip-address=127.0.0.1",
        f"--port={port}",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard}",
        "--dashboard-agent-listen-port=0",
        f"--metrics-export-port={metrics}",
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--temp-dir={folder}",
    ]
    process = subprocess.Popen(
        start, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for(dashboard, process)
        yield {
            **environment,
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
            HEAD: f"127.0.0.1:{port}",
            EXPORTED: f"http://127.0.0.1:{metrics}/metrics",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def ask(head: dict[str, str], job: str, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(job, *words), env=head, capture_output=True, text=True, timeout=300, check=False)


def test_a_job_is_followed_to_its_own_exit_code_and_the_same_words_go_on(head: dict[str, str], tmp_path: Path) -> None:
    words = ("job=generate", f"shared=[{tmp_path}]", *WORDS, f"output.uri={tmp_path / 'run'}")
    first = ask(head, "submit", *words)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "-1: submitted" in first.stdout
    assert first.stdout.count("2 images rendered") == 1
    again = ask(head, "submit", *words)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "-2: submitted" in again.stdout
    assert "0 images rendered" in again.stdout
    assert SECRET not in said_by_the_cluster(head)


def said_by_the_cluster(head: dict[str, str]) -> str:
    """All that its Jobs API knows of jobs."""
    request = urllib.request.Request(
        f"{head['RAY_API_SERVER_ADDRESS']}/api/jobs/", headers={"Authorization": f"Bearer {head['RAY_AUTH_TOKEN']}"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        text = reply.read().decode()
    assert "darkroom generate" in text
    return text


def test_a_failing_job_ends_with_its_code(head: dict[str, str], tmp_path: Path) -> None:
    done = ask(head, "submit", "job=verify", f"shared=[{tmp_path}]", f"run={tmp_path / 'none'}")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "none does not exist; name the folder of a run" in done.stdout


def test_a_running_job_is_not_made_twice_and_can_be_stopped(head: dict[str, str], tmp_path: Path) -> None:
    words = (
        "job=generate",
        f"shared=[{tmp_path}]",
        "follow=false",
        "model=paint",
        "engine=local",
        "sampling.height=1024",
        "sampling.width=1024",
        "sampling.num_images_per_prompt=1000",
        f"output.uri={tmp_path / 'run'}",
    )
    first, again = ask(head, "submit", *words), ask(head, "submit", *words)
    name = first.stdout.split(":")[0]
    assert name.endswith("-1"), first.stderr
    assert again.stdout.startswith(f"{name}: "), again.stderr
    assert "not submitted again" in again.stdout
    stopped = ask(head, "jobs", f"id={name}", "stop=true", "json=true")
    assert json.loads(stopped.stdout)[0]["status"] == "STOPPED", stopped.stdout + stopped.stderr


def scraped(url: str, run: Path) -> dict[str, float]:
    """Ray's names of this run's metrics, each with the values of their own labels, and the numbers."""
    with urllib.request.urlopen(url, timeout=30) as reply:
        families = list(text_string_to_metric_families(reply.read().decode()))
    own = ("status", "outcome", "stage", "of")
    samples = [sample for family in families for sample in family.samples if sample.labels.get("run") == str(run)]
    return {
        " ".join([sample.name, *(sample.labels[name] for name in own if name in sample.labels)]): sample.value
        for sample in samples
    }


def test_a_node_exports_the_metrics_of_a_job(head: dict[str, str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = (*WORDS, "sampling.num_images_per_prompt=8", "engine.shard_size=1", "engine.price_per_hour=1")
    done = ask(head, "generate", *words, f"engine.address={head[HEAD]}", f"output.uri={run}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exports no metrics" not in done.stderr
    for _ in range(30):
        found = scraped(head[EXPORTED], run)
        if found.get("ray_darkroom_records_total ok") == 16:
            break
        time.sleep(1)
    assert found["ray_darkroom_records_total ok"] == 16
    assert found["ray_darkroom_shards_total committed"] == 2
    assert found["ray_darkroom_stage_shards_total rendering"] == 2
    assert found["ray_darkroom_stage_seconds_total loading"] > 0
    assert (
        0
        < found["ray_darkroom_cost_total workers"]
        == pytest.approx(found["ray_darkroom_worker_seconds_total"] / 3600, rel=0.01)
    )


def test_a_node_exports_how_far_a_job_is_while_it_works(head: dict[str, str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    size = ("sampling.height=512", "sampling.width=512", "sampling.num_images_per_prompt=1000", "engine.shard_size=1")
    words = ("model=paint", *WORDS[3:], *size, f"engine.address={head[HEAD]}")
    process = subprocess.Popen(command("generate", *words, f"output.uri={run}"), env=head, stdout=subprocess.DEVNULL)
    try:
        for _ in range(120):
            found = scraped(head[EXPORTED], run)
            if found.get("ray_darkroom_shards_under_way") == 2:
                break
            time.sleep(1)
        assert found["ray_darkroom_shards_under_way"] == 2
        assert (found["ray_darkroom_workers_ready"], found["ray_darkroom_workers_wanted"]) == (1, 1)
        assert (found["ray_darkroom_running"], found["ray_darkroom_images"]) == (1, 2000)
        names = {name.split()[0].removeprefix("ray_") for name in found}
        assert names <= {metric.name for metric in METRICS}
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()


def test_what_does_not_answer_is_said_in_one_line(head: dict[str, str]) -> None:
    wrong = ask({**head, "RAY_AUTH_TOKEN": secrets.token_hex(32)}, "jobs")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("darkroom: the Jobs API of the Ray at http://127.0.0.1:")
    assert len(wrong.stderr.splitlines()) == 1
