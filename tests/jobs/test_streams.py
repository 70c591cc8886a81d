"""Every job ends as it does else, whatever becomes of what it prints."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from darkroom.jobs.cli import JOBS
from tests.jobs.helpers import PAINT, run_here
from tests.processes import Job

pytestmark = pytest.mark.slow

MEASURED = "extractors=[pixels]"
# Words with which a job does something and ends soon; {run}: a run, {new}: a place where nothing is yet.
WORDS = {
    "plan": PAINT,
    "prove": ("model=demo", "sampling.num_inference_steps=2"),
    "generate": (*PAINT, "output.uri={new}"),
    "sweep": (*PAINT, "grid.axes.guidance_scale=[1,2]", "output.uri={new}"),
    "evaluate": ("run={run}", "engine=local", MEASURED),
    "report": ("run={run}", "output.uri={new}"),
    "compare": ("a={run}", "b={run}", MEASURED),
    "status": ("run={run}",),
    "retry": ("run={run}", "engine=local"),
    "verify": ("run={run}", "num_images=2"),
    "repair": ("run={run}",),
    "gc": ("run={run}", "dry_run=true"),
    "submit": ("to=slurm", "job=verify", "run=s3://bucket/run", "dry_run=true"),
    "jobs": ("address=http://127.0.0.1:1",),
    "bench": ("figures=[nothing]",),
}
TRACES = ("Traceback", "Exception", "Error")


def gone(handle: int) -> None:
    """`| true`: nobody reads."""
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, handle)


def first_line() -> None:
    """`| head -1`: who reads leaves after a line."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(write)
        with os.fdopen(read, buffering=1) as lines:
            lines.readline()
        os._exit(0)
    os.close(read)
    os.dup2(write, 1)


def closed(*names: str) -> None:
    """`>&-` and `2>&-`, as Python finds them when it starts."""
    for name in names:
        os.close(getattr(sys, name).fileno())
        setattr(sys, name, None)


STREAMS: dict[str, Callable[[], None]] = {
    "gone": partial(gone, 1),
    "first_line": first_line,
    "closed": partial(closed, "stdout"),
    "errors_closed": partial(closed, "stderr"),
    "errors_gone": partial(gone, 2),
    "all_closed": partial(closed, "stdin", "stdout", "stderr"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert run_here("generate", *PAINT, f"output.uri={out}", "evaluate=inline", f"evaluation.{MEASURED}") == 0
    return out


def ended(job: str, run: Path, new: Path, stream: Callable[[], None] | None) -> tuple[int | None, str, list[str]]:
    """(exit code, what is said, where it is not led elsewhere, the files that it made)."""
    words = [word.format(run=run, new=new) for word in WORDS.get(job, ("--help",))]
    process = Job(job, words, stream)
    said = process.end()
    made = sorted(str(path.relative_to(new)) for path in new.rglob("*.parquet")) if new.exists() else []
    return process.returncode, said, made


@pytest.mark.parametrize("job", JOBS)
def test_a_job_ends_as_ever_whatever_becomes_of_its_streams(job: str, run: Path, tmp_path: Path) -> None:
    code, said, made = ended(job, run, tmp_path / "undisturbed", None)
    assert code in (0, 2)
    assert said
    for name, stream in STREAMS.items():
        code_then, said_then, made_then = ended(job, run, tmp_path / name, stream)
        assert (name, code_then, made_then) == (name, code, made)
        assert not [trace for trace in TRACES if trace in said_then], (name, said_then)


def test_words_are_of_jobs_that_there_are() -> None:
    assert WORDS.keys() <= JOBS.keys()
