"""Calls the real command line in a process of its own, start-up and all."""

import subprocess
import time

from darkroom.bench.setting import Setting
from darkroom.domain.errors import DarkroomError


def seconds_of(setting: Setting, job: str, *overrides: str) -> float:
    """How long the job takes. Raises DarkroomError with its last line where it fails."""
    started = time.perf_counter()
    ended = subprocess.run(
        [*setting.darkroom, job, *overrides], capture_output=True, text=True, check=False, errors="replace"
    )
    seconds = time.perf_counter() - started
    if ended.returncode:
        lines = (ended.stderr or ended.stdout).strip().splitlines() or ["it said nothing"]
        raise DarkroomError(f"bench: `darkroom {job}` ended with exit code {ended.returncode}: {lines[-1]}")
    return seconds
