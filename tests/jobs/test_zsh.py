"""Completion in a zsh that a person types into: words in open quotes, words that brackets follow, files."""

import os
import pty
import select
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")]
_BIN = Path(sys.executable).parent
_WAIT_S = 60.0


class Terminal:
    """A shell that takes keys, and what it shows."""

    def __init__(self, folder: Path) -> None:
        path = f"{_BIN}{os.pathsep}{os.environ['PATH']}"
        self._pid, self._handle = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.execvpe("zsh", ["zsh", "-f"], {**os.environ, "PATH": path, "TERM": "dumb", "HOME": str(folder)})
        self.type(
            "bindkey -e; autoload -Uz compinit && compinit -u -D; eval \"$(darkroom completion zsh)\"; echo rea''dy\n"
        )
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


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "my prompts.csv").write_text("prompt\na cat\n")
    found = Terminal(tmp_path)
    yield found
    found.close()


def test_words_are_completed_in_quotes_and_beside_others(terminal: Terminal) -> None:
    for typed, shown in (
        ("darkroom gene", "darkroom generate"),
        ("darkroom generate 'model=pai", "'model=paint"),
        ('darkroom generate "model=pai', '"model=paint'),
        ("darkroom sweep 'grid.axes.sch", "'grid.axes.scheduler="),
        ("darkroom sweep 'grid.axes.height=[16,32]' grid.mo", "'grid.axes.height=[16,32]' grid.mode="),
        ("darkroom sweep grid.axes.height=[16,32] grid.mo", "grid.axes.height=[16,32] grid.mode="),
        ("darkroom generate prompts=file prompts.uri=my", "prompts.uri=my\\ prompts.csv"),
        ("darkroom generate 'prompts.uri=my", "'prompts.uri=my prompts.csv'"),
    ):
        terminal.type(f"{typed}\t")
        terminal.wait(shown)
        terminal.type("\x15")  # takes the line away
