"""Hands a manifest to the program that takes it: kubectl, sbatch or sky."""

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from darkroom.domain.errors import DarkroomError

_MISSING = {  # program -> where it comes from
    "kubectl": "install it, and choose a cluster by `kubectl config use-context`",
    "sbatch": "submit on a machine of the Slurm cluster",
    "squeue": "submit on a machine of the Slurm cluster",
    "sky": "install it by `pip install skypilot`, with the clouds that are wanted",
}


def check_there(program: str) -> None:
    """Raises DarkroomError where the program is missing."""
    _found(program)


def asked(command: Sequence[str]) -> str:
    """What a program says. Raises DarkroomError where it is missing, or fails."""
    ended = subprocess.run(
        [_found(command[0]), *command[1:]], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise DarkroomError(f"`{shlex.join(command)}` failed: {lines[-1].strip()}; mend that, or add dry_run=true")
    return ended.stdout


def handed(command: Sequence[str]) -> int:
    """Runs the program on this process's own streams, and returns its exit code. Raises DarkroomError where it is
    missing."""
    return subprocess.run([_found(command[0]), *command[1:]], check=False).returncode


def write(text: str, path: Path) -> None:
    """Raises DarkroomError where another text is there, or none can be written."""
    try:
        if path.exists() and path.read_text("utf-8") != text:
            raise DarkroomError(f"{path}: another file is there; remove it, or name a new one as to.write_to=...")
        path.write_text(text, "utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DarkroomError(f"{path}: it cannot be written ({error}); name another file as to.write_to=...") from error


def _found(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise DarkroomError(f"{program}: no such program on the PATH; {_MISSING[program]}, or add dry_run=true")
    return found
