"""Keys and tokens, wherever a person may put them, are in no file and no line that a run writes."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.jobs.cli import composed
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import PAINT, ROOT, command
from tests.processes import Job

SECRET = "s3cr3t0123456789abcdef"
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAS3CR3T0000000000",
    "AWS_SECRET_ACCESS_KEY": f"aws{SECRET}",
    "AWS_SESSION_TOKEN": f"session{SECRET}",
    "HF_TOKEN": f"hf_{SECRET}",
    "HUGGING_FACE_HUB_TOKEN": f"hub_{SECRET}",
    "RAY_AUTH_TOKEN": f"ray{SECRET}" * 2,
}


def run(tmp_path: Path, *overrides: str) -> subprocess.CompletedProcess:
    """A job whose environment holds secrets, and whose every temporary file lies below `tmp_path`."""
    (tmp_path / "t").mkdir(exist_ok=True)
    environment = {**os.environ, **SECRETS, "RAY_TMPDIR": str(tmp_path / "t"), "TMPDIR": str(tmp_path / "t")}
    return subprocess.run(
        command("generate", *overrides), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip


def files(folder: Path) -> Iterator[bytes]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes()


def held(texts: list[bytes]) -> set[str]:
    """The secrets that are in one of the texts."""
    return {secret for secret in SECRETS.values() if any(secret.encode() in text for text in texts)}


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Ray's sockets lie below it, and their paths may not be long."""
    with TemporaryDirectory(prefix="s", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
@pytest.mark.parametrize("where", ["disk", "s3"])
def test_no_secret_of_the_environment_is_written(s3_endpoint: str, short_folder: Path, engine: str, where: str) -> None:
    folder = short_folder
    uri = str(folder / "run") if where == "disk" else f"s3://bucket/{uuid.uuid4().hex}"
    endpoint = [] if where == "disk" else [f"output.endpoint_url={s3_endpoint}"]
    done = run(folder, *PAINT, f"engine={engine}", "engine.num_workers=1", f"output.uri={uri}", *endpoint)
    assert done.returncode == 0, done.stderr
    store = open_store(parse_spec(uri, s3_endpoint if where == "s3" else None))
    stored = [store.get(info.key) for info in store.list()]
    assert len(stored) > 64
    written = list(files(folder))
    assert engine == "local" or len(written) > 10  # Ray's logs
    assert held([*stored, *written, done.stdout.encode(), done.stderr.encode()]) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "override",
    [
        f"output.uri=s3://AKIA:{SECRET}@bucket/run",
        f"output.uri=https://bucket.s3.amazonaws.com/run?X-Amz-Security-Token={SECRET}",
        f"output.endpoint_url=http://user:{SECRET}@127.0.0.1:1",
        f"prompts.uri=s3://AKIA:{SECRET}@bucket/prompts.csv",
        f"prompts.uri=https://user:{SECRET}@host/prompts.csv",
        f"prompts.endpoint_url=http://user:{SECRET}@127.0.0.1:1",
        f"output.secret_access_key={SECRET}",
        f"+aws.secret_access_key={SECRET}",
        f"model.repo_id=https://user:{SECRET}@huggingface.co/some/model",
    ],
)
def test_a_secret_in_the_command_is_refused_without_being_repeated(tmp_path: Path, override: str) -> None:
    prompts = (
        "prompts=file",
        "prompts.uri=s3://bucket/prompts.csv" if "prompts.e" in override else "prompts.uri=x.csv",
    )
    uri = f"output.uri={'s3://bucket/run' if 'endpoint' in override else tmp_path / 'run'}"
    job = Job("generate", [*PAINT, *(prompts if override.startswith("prompts") else ()), uri, override])
    said = job.end()
    assert job.returncode == 2, said
    assert SECRET not in said
    assert not [data for data in files(tmp_path) if SECRET.encode() in data]
    assert len(said.strip().splitlines()) == 1


ADDRESSES = (
    f"https://user:{SECRET}@host/x",
    f"https://host/x?X-Amz-Algorithm=a&X-Amz-Signature={SECRET}",
    f"'s3://bucket/x?X-Amz-Security-Token={SECRET}'",
)
PLACES = [
    ("generate", "output.uri"),
    ("generate", "output.endpoint_url"),
    ("generate", "prompts.uri"),
    ("generate", "prompts.endpoint_url"),
    ("generate", "model.repo_id"),
    ("generate", "engine.address"),
    ("generate", "evaluation.reference"),
    ("sweep", "grid.axes.repo_id"),
    ("evaluate", "run"),
    ("evaluate", "reference"),
    ("evaluate", "endpoint_url"),
    ("evaluate", "engine.address"),
    ("compare", "a"),
    ("compare", "reference"),
    ("rate", "others"),
    ("status", "run"),
    ("report", "output.uri"),
    ("gc", "run"),
    ("verify", "run"),
    ("retry", "no.such.key"),
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(("job", "key"), PLACES)
def test_no_job_takes_an_address_with_credentials(job: str, key: str, address: str) -> None:
    for value in (address, f"[{address},b]"):
        with pytest.raises(DarkroomError, match=f"^{key}: credentials") as caught:
            composed(job, [f"{key}={value}"])
        assert SECRET not in str(caught.value)
        assert "\n" not in str(caught.value)
