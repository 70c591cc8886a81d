"""Jobs as processes: signals, kills, Ray, and a store that outlives them."""

import re
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

from darkroom.runs import manifest
from darkroom.runs.reading import records
from darkroom.storage.store import Store, open_store, parse_spec
from tests.jobs.helpers import PAINT, ROOT, run, run_here
from tests.processes import Job, ended, wait_for
from tests.servers import FaultyProxy

pytestmark = pytest.mark.slow

SLOW_PAINT = ("model=paint", "sampling.height=256", "sampling.width=256", "sampling.num_images_per_prompt=8")
CIRCLES = (  # 24 prompts
    "prompts=template", "prompts.pattern='a {size} {colour} circle'",
    "prompts.slots={size: [tiny, small, large, huge], colour: [red, green, blue, grey, pink, white]}",
)  # fmt: skip


def digests(store: Store) -> dict[tuple[str, int], str]:
    found = {(record.prompt_id, record.sample_index): record.sha256 for record in records(store)}
    assert len(found) == sum(1 for _ in records(store))
    return found


def num_committed(store: Store) -> int:
    return sum(1 for _ in manifest.committed(store))


@pytest.mark.slow
def test_engine_local_imports_no_ray(tmp_path: Path) -> None:
    code = "import sys; sys.modules['ray'] = None; from darkroom.jobs.cli import run_job; run_job('generate')"
    arguments = [*PAINT, f"output.uri={tmp_path / 'run'}"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def heed_hangups() -> None:
    """Who runs the tests may have them ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_stops_in_seconds_and_the_same_command_goes_on(
    tmp_path: Path, signal_number: int, capsys: pytest.CaptureFixture
) -> None:
    arguments = (*SLOW_PAINT, *CIRCLES, "engine=local", "engine.shard_size=1", f"output.uri={tmp_path / 'run'}")
    store = open_store(parse_spec(str(tmp_path / "run")))
    job = Job("generate", arguments, heed_hangups)
    wait_for(lambda: num_committed(store) >= 3)
    job.send_signal(signal_number)
    said = job.end(30)
    assert job.returncode == 130
    assert re.search(r"the same command goes on from there: \S*darkroom generate model=paint", said)
    half = num_committed(store)
    assert 3 <= half < 24
    assert run_here("generate", *arguments) == 0
    assert f"{half} of 24 shards are committed already" in capsys.readouterr().out
    assert len(digests(store)) == 24 * 8


class HangingServer(FaultyProxy):
    """Answers as the server behind it does, but never where method and path match; `is_asked` once that has come."""

    def __init__(self, upstream: str, pattern: str) -> None:
        super().__init__(upstream)
        self._pattern = re.compile(pattern)
        self.is_asked = threading.Event()

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list, bytes]:
        if self._pattern.match(f"{method} {path}"):
            self.is_asked.set()
            threading.Event().wait()
        return super().pass_on(method, path, headers, body)


@pytest.fixture(scope="module")
def finished_in_s3(s3_endpoint: str) -> str:
    uri = f"s3://bucket/{uuid.uuid4().hex}"
    given = (*PAINT, "engine.shard_size=8", f"output.uri={uri}", f"output.endpoint_url={s3_endpoint}")
    assert run_here("generate", *given) == 0
    return uri


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "pattern"),
    [
        ("status", ""),
        ("status", "GET /bucket/[0-9a-f]+/run.json"),
        ("status", "GET /bucket[?/].*list-type=2.*metadata"),
        ("status", "GET /bucket/[0-9a-f]+/metadata/"),
        ("report", "PUT /bucket/[0-9a-f]+/report/"),
        ("verify stored=true", "GET /bucket/[0-9a-f]+/images/"),
        ("generate", "PUT .*probe"),
    ],
)
def test_an_interrupt_ends_a_job_whose_store_never_answers(
    s3_endpoint: str, finished_in_s3: str, job: str, pattern: str
) -> None:
    with HangingServer(s3_endpoint, pattern) as server:
        where = (f"run={finished_in_s3}", f"endpoint_url={server.url}")
        if job == "generate":
            where = (*PAINT, f"output.uri={finished_in_s3}", f"output.endpoint_url={server.url}")
        name, *more = job.split()
        process = Job(name, (*more, *where))
        assert server.is_asked.wait(100)
        process.send_signal(signal.SIGINT)
        process.end(30)  # of the store's own patience, a minute is the least
        assert process.returncode == 130


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_run_on_ray_and_s3_ends_as_an_undisturbed_one(s3_endpoint: str, tmp_path: Path) -> None:
    """SIGKILL of the driver at about half; then another start, with the embedded model, and none on Ray or S3."""
    uri = f"s3://bucket/{uuid.uuid4().hex}"
    base = ("sampling.num_inference_steps=2", "sampling.num_images_per_prompt=2", "engine.batch_size=4", *CIRCLES)
    there = (f"output.uri={uri}", f"output.endpoint_url={s3_endpoint}", "engine.num_workers=2", "engine.shard_size=1")
    store = open_store(parse_spec(uri, s3_endpoint))
    killed = Job("generate", (*base, *there))
    wait_for(lambda: num_committed(store) >= 3)
    killed.send_signal(signal.SIGKILL)
    killed.end()
    assert killed.returncode == -signal.SIGKILL
    assert num_committed(store) < 24
    ended(Job("generate", (*base, *there)), 0)
    undisturbed = open_store(parse_spec(str(tmp_path / "whole")))
    here = (f"output.uri={tmp_path / 'whole'}", "engine=local", "engine.shard_size=5")
    assert run_here("generate", *base, *here) == 0
    assert digests(store) == digests(undisturbed)
    assert all(record.worker.startswith("worker ") for record in records(store))
    assert run_here("verify", f"run={uri}", f"endpoint_url={s3_endpoint}", "num_images=8") == 0


@pytest.mark.slow
def test_errors_are_one_line_and_exit_code_two() -> None:
    for job, override in (
        ("generate", "sampling.guidance=1"),
        ("status", "run=/nowhere"),
        ("generate", "model=nothing"),
    ):
        done = run(job, override)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_no_secret_reaches_a_file_or_the_output(
    s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "s3cr3t-0123456789"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("HF_TOKEN", secret)
    uri = f"s3://bucket/{uuid.uuid4().hex}"
    said = ended(Job("generate", [*PAINT, *CIRCLES, f"output.uri={uri}", f"output.endpoint_url={s3_endpoint}"]), 0)
    store = open_store(parse_spec(uri, s3_endpoint))
    contents = [store.get(info.key) for info in store.list()]
    assert len(contents) > 24
    assert not [content for content in contents if secret.encode() in content]
    assert secret not in said
