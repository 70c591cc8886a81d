"""Every job ends as it does else, whatever becomes of what it prints."""

import os
import sys
from collections.abc import Callable
from functools import cache, partial
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
    "compact": ("run={run}",),
    "gc": ("run={run}", "dry_run=true"),
    "submit": ("to=slurm", "job=verify", "run=s3://bucket/run", "dry_run=true"),
    "jobs": ("address=http://127.0.0.1:1",),
    "bench": ("figures=[nothing]",),
}
TRACES = ("Traceback", "Exception ignored", "BrokenPipe")
NAMES = ("stdin", "stdout", "stderr")


def lead(handle: int, write: int) -> None:
    """A stream elsewhere, and Python's of its number, as a start there would have it."""
    os.dup2(write, handle)
    os.close(write)
    setattr(sys, NAMES[handle], os.fdopen(handle, "w", closefd=False))


def gone(handle: int) -> None:
    """`| true`: nobody reads."""
    read, write = os.pipe()
    os.close(read)
    lead(handle, write)


def first_line() -> None:
    """`| head -1`: who reads leaves after a line."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(write)
        with os.fdopen(read, buffering=1) as lines:
            lines.readline()
        os._exit(0)
    os.close(read)
    lead(1, write)


def closed(*handles: int) -> None:
    """`>&-` and `2>&-`, as Python finds them when it starts."""
    for handle in handles:
        os.close(handle)
        setattr(sys, NAMES[handle], None)


STREAMS: dict[str, Callable[[], None]] = {
    "gone": partial(gone, 1),
    "first_line": first_line,
    "closed": partial(closed, 1),
    "errors_closed": partial(closed, 2),
    "errors_gone": partial(gone, 2),
    "all_closed": partial(closed, 0, 1, 2),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert run_here("generate", *PAINT, f"output.uri={out}", "evaluate=inline", f"evaluation.{MEASURED}") == 0
    return out


Ending = tuple[int | None, list[str]]  # exit code, and the files with records that were made


def ended(job: str, run: Path, new: Path, stream: Callable[[], None] | None) -> tuple[Ending, str]:
    """With what is said, as far as it is not led elsewhere."""
    words = [word.format(run=run, new=new) for word in WORDS.get(job, ("--help",))]
    process = Job(job, words, stream)
    said = process.end()
    made = sorted(path.relative_to(new).name for path in new.rglob("*.parquet")) if new.exists() else []
    return (process.returncode, made), said


@pytest.fixture(scope="module")
def undisturbed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Ending]:
    @cache
    def found(job: str) -> Ending:
        ending, said = ended(job, run, tmp_path_factory.mktemp("undisturbed") / "new", None)
        assert ending[0] in (0, 2)
        assert said
        return ending

    return found


@pytest.mark.parametrize(
    ("job", "stream"),
    [(job, stream) for job in JOBS for stream in (STREAMS if job == "generate" else ("gone", "all_closed"))],
)
def test_a_job_ends_as_ever_whatever_becomes_of_its_streams(
    job: str, stream: str, run: Path, undisturbed: Callable[[str], Ending], tmp_path: Path
) -> None:
    ending, said = ended(job, run, tmp_path / "new", STREAMS[stream])
    assert ending == undisturbed(job), said
    assert not [trace for trace in TRACES if trace in said], said


def test_words_are_of_jobs_that_there_are() -> None:
    assert WORDS.keys() <= JOBS.keys()
