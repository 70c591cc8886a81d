"""Completion in shells that a person types into: words in open quotes, words that brackets follow, files."""

import os
import pty
import select
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
_BIN = Path(sys.executable).parent
_WAIT_S = 60.0
_SHELLS = {  # with the options by which it reads no file of the user's, and what a file of theirs would say
    "bash": (["--norc", "--noprofile"], 'eval "$(darkroom completion bash)"'),
    "zsh": (["-f"], 'bindkey -e; autoload -Uz compinit && compinit -u -D; eval "$(darkroom completion zsh)"'),
}


class Terminal:
    """A shell that takes keys, and what it shows."""

    def __init__(self, shell: str, folder: Path) -> None:
        path = f"{_BIN}{os.pathsep}{os.environ['PATH']}"
        options, said = _SHELLS[shell]
        self._pid, self._handle = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.execvpe(shell, [shell, *options], {**os.environ, "PATH": path, "TERM": "dumb", "HOME": str(folder)})
        self.type(f"{said}; echo rea''dy\n")
        self.wait("ready\r\n")

    def type(self, keys: str) -> None:
        os.write(self._handle, keys.encode())

    def wait(self, text: str) -> str:
        """All that is shown until the text is."""
        shown, deadline = "", time.monotonic() + _WAIT_S
        while text not in shown:
            assert time.monotonic() < deadline, f"{text!r} is not in {shown!r}"
            if select.select([self._handle], [], [], 0.1)[0]:
                shown += os.read(self._handle, 65536).decode(errors="replace")
        return shown

    def close(self) -> None:
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)
        os.close(self._handle)


@pytest.fixture(params=_SHELLS)
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which(request.param) is None:
        pytest.skip(f"needs {request.param}")
    (tmp_path / "my prompts.csv").write_text("prompt\na cat\n")
    found = Terminal(request.param, tmp_path)
    yield found
    found.close()


def test_words_are_completed_in_quotes_and_beside_others(terminal: Terminal) -> None:
    for typed, shown in (
        ("darkroom gene", "darkroom generate"),
        ("A=1 darkroom gene", "A=1 darkroom generate"),
        ("darkroom generate model=pai", "model=paint"),
        ("darkroom generate 'model=pai", "'model=paint"),
        ('darkroom generate "model=pai', '"model=paint'),
        ("darkroom sweep 'grid.axes.sch", "'grid.axes.scheduler="),
        ("darkroom sweep 'grid.axes.height=[16,32]' grid.mo", "'grid.axes.height=[16,32]' grid.mode="),
        ("darkroom sweep grid.axes.height=[16,32] grid.mo", "grid.axes.height=[16,32] grid.mode="),
        ("darkroom generate output.uri=s3://bucket/x log=js", "output.uri=s3://bucket/x log=json"),
        ("darkroom submit to=slurm job=generate model=pai", "job=generate model=paint"),
        ("darkroom generate --cfg ", "--cfg job"),
        ("darkroom generate prompts=file prompts.uri=my", "prompts.uri=my\\ prompts.csv"),
        ("darkroom generate 'prompts.uri=my", "'prompts.uri=my prompts.csv'"),
        ('darkroom generate "prompts.uri=./m', '"prompts.uri=./my prompts.csv"'),
    ):
        terminal.type(f"{typed}\t")
        terminal.wait(shown)
        terminal.type("\x15")  # takes the line away
