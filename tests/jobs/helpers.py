"""Runs jobs as a person does: a process, its output and its exit code."""

import subprocess
import sys
from pathlib import Path

from darkroom.jobs.cli import composed, function_of
from darkroom.storage.store import Store, open_store, parse_spec

ROOT = Path(__file__).parents[2]


def command(job: str, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "darkroom", job, *overrides]


def run(job: str, *overrides: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """The job in a process of its own."""
    return subprocess.run(command(job, *overrides), cwd=cwd, capture_output=True, text=True, timeout=200, check=False)


def run_here(job: str, *overrides: str) -> int:
    """The job in this process: quicker, and as true but for signals and exit."""
    return function_of(job)(composed(job, overrides))


def copied(run: Store, uri: str) -> Store:
    """A finished run at another address, of a folder or of the same S3: quicker than to make it again."""
    copy = open_store(parse_spec(uri, run.spec.endpoint_url))
    for info in run.list():
        copy.put(info.key, run.get(info.key))
    return copy


def named(run: Store) -> list[str]:
    """The words that name it to a job."""
    endpoint = run.spec.endpoint_url
    return [f"run={run.spec.uri}", *([f"endpoint_url={endpoint}"] if endpoint else [])]


PAINT = ("model=paint", "engine=local", "sampling.height=16", "sampling.width=16")
