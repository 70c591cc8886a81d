"""Lines that are printed to be copied: each runs when it is pasted into a shell."""

import shlex
import shutil
import sys
from pathlib import Path

from pipeline.report.commands import run_words, word
from pipeline.storage.store import StoreSpec


def command(job: str, *words: str) -> str:
    """`words` are ready for a shell, as `word` makes them."""
    return " ".join([program(), job, *words])


def on_run(job: str, store: StoreSpec, **settings: object) -> str:
    """A job on a run that is there."""
    return command(job, *run_words(store), *(word(name, value) for name, value in settings.items()))


def program() -> str:
    """What starts Darkroom here: its name where a shell finds it, else the path beside this Python, else the module."""
    beside = Path(sys.executable).with_name("darkroom")
    if shutil.which("darkroom"):
        return "darkroom"
    return shlex.quote(str(beside)) if beside.exists() else shlex.join([sys.executable, "-m", "jobs.cli"])
