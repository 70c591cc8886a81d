"""Runs a job as a person does and watches it: what it printed when, and how much memory the driver held meanwhile."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.jobs.helpers import ROOT, command

_EVERY_S = 0.2


@dataclass(frozen=True)
class Watched:
    """One process from start to end. Times are seconds since its start."""

    code: int
    seconds: float
    lines: Sequence[tuple[float, str]]
    rss_mb: Sequence[tuple[float, float]]

    @property
    def text(self) -> str:
        return "".join(line for _, line in self.lines)

    @property
    def peak_mb(self) -> float:
        return max(size for _, size in self.rss_mb)

    def when(self, words: str) -> float:
        """When the first line with these words came."""
        return next(at for at, line in self.lines if words in line)

    def peak_between(self, start: float, stop: float) -> float:
        """Most memory in this part of the time; memory at the look before, where it passed between two looks."""
        inside = [size for at, size in self.rss_mb if start <= at <= stop]
        return max(inside, default=[size for at, size in self.rss_mb if at <= stop][-1])


def watch(job: str, *overrides: str) -> Watched:
    """The job's own process alone: neither Ray's nor the workers'."""
    started = time.monotonic()
    process = subprocess.Popen(
        command(job, *overrides), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines: list[tuple[float, str]] = []
    reader = threading.Thread(target=_read, args=(process, lines, started))
    reader.start()
    sizes = []
    while process.poll() is None:
        sizes.append((time.monotonic() - started, rss_mb(process.pid)))
        time.sleep(_EVERY_S)
    reader.join()
    return Watched(process.returncode, time.monotonic() - started, lines, sizes)


def rss_mb(pid: int) -> float:
    """Resident memory of a process; 0 where it is gone, or where there is no /proc."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _read(process: subprocess.Popen, lines: list[tuple[float, str]], started: float) -> None:
    assert process.stdout
    for line in process.stdout:
        lines.append((time.monotonic() - started, line))
        print(f"  {line}", end="", file=sys.stderr, flush=True)
