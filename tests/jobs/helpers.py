"""Runs jobs as a person does: a process, its output and its exit code."""

import subprocess
import sys
from pathlib import Path

from darkroom.jobs.cli import composed, function_of

ROOT = Path(__file__).parents[2]


def command(job: str, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "darkroom", job, *overrides]


def run(job: str, *overrides: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """The job in a process of its own."""
    return subprocess.run(command(job, *overrides), cwd=cwd, capture_output=True, text=True, timeout=200, check=False)


def run_here(job: str, *overrides: str) -> int:
    """The job in this process: quicker, and as true but for signals and exit."""
    return function_of(job)(composed(job, overrides))


PAINT = ("model=paint", "engine=local", "sampling.height=16", "sampling.width=16")
