"""Jobs that are submitted to a real Ray with its dashboard, behind a token."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.jobs.helpers import PAINT, command
from tests.servers import free_port, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.drill, pytest.mark.timeout(600)]
SECRET = "secret-of-the-submitter"
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
    port, dashboard = free_port(), free_port()
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
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


def test_what_does_not_answer_is_said_in_one_line(head: dict[str, str]) -> None:
    wrong = ask({**head, "RAY_AUTH_TOKEN": secrets.token_hex(32)}, "jobs")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("darkroom: the Jobs API of the Ray at http://127.0.0.1:")
    assert len(wrong.stderr.splitlines()) == 1
