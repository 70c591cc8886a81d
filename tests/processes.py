"""Jobs as processes of their own, forked off one that has imported everything: a start costs a moment.

Real in all else: own signals, own exit codes, killed and stopped as any other.
"""

import gc
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.pool import Pool
from pathlib import Path

from darkroom.jobs.cli import console

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.preloaded", "tests.faults.doomed"])


def forks(num_processes: int) -> Pool:
    """Processes that are forked off the same, with this one's environment; each makes one call."""
    return _FORKS.Pool(num_processes, _take, (dict(os.environ),), maxtasksperchild=1)


def _take(environ: dict[str, str]) -> None:
    os.environ.update(environ)


class Job:
    """A job that runs, and what it says; `doom` is called first, in its process."""

    def __init__(self, job: str, overrides: Sequence[str], doom: Callable[[], None] | None = None) -> None:
        handle, name = tempfile.mkstemp(prefix="darkroom-said-")
        os.close(handle)
        self._said = Path(name)
        arguments = (job, tuple(overrides), dict(os.environ), name, doom)
        self._process = _FORKS.Process(target=_run, args=arguments, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; the negative number of the signal that ended it."""
        return self._process.exitcode

    @property
    def said(self) -> str:
        """So far."""
        return self._said.read_text() if self.returncode is None else ""

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self, timeout_s: float = 300) -> str:
        """Wait for its end; all that it said. TimeoutError where it goes on."""
        self._process.join(timeout_s)
        said = self._said.read_text()
        if self.returncode is None:
            self._process.kill()
            raise TimeoutError(f"the job did not end within {timeout_s:g} s: {said}")
        self._said.unlink()
        return said


def ended(job: Job, *codes: int) -> str:
    """What a job has said at its end, which must have one of these exit codes."""
    said = job.end()
    assert job.returncode in codes, f"exit code {job.returncode}: {said}"
    assert "Traceback" not in said, said
    return said


def wait_for(condition: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _run(job: str, overrides: Sequence[str], environ: dict[str, str], said: str, doom: Callable | None) -> None:
    gc.freeze()  # what it was forked off with: a collection would look at all, and so copy it
    _take(environ)
    handle = os.open(said, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(handle, stream)
    sys.argv = ["darkroom", job, *overrides]
    if doom:
        doom()
    console(job, overrides)
