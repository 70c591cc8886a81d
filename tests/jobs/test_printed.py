"""Lines that are printed for copying run when they are pasted into a shell, whatever the places are called."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from darkroom.jobs.cli import same_command
from darkroom.jobs.overrides import composed
from darkroom.runs.commands import on_run
from darkroom.storage.store import StoreSpec
from tests.jobs.helpers import PAINT, run_here

SHELLS = [shell for shell in ("sh", "bash", "zsh") if shutil.which(shell)]
NAMES = ["my run (v2)", "it's", 'say "x"', "a,b=[c]{d}", "-x", "dönnées ↑", "$HOME `id` \\", "a&b;c|d!e", "*?#~", "'q'"]


@pytest.fixture(autouse=True)
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `darkroom` on the PATH that says which words reach it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "darkroom").write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
    (folder / "darkroom").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def pasted(line: str, shell: str) -> list[str]:
    """The words of the command as the shell passes them."""
    done = subprocess.run([shell], input=line + "\n", capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", [*NAMES, "two\nlines"])
def test_a_job_on_a_run_reaches_that_run(name: str, shell: str) -> None:
    uri = f"/tmp/{name}"
    job, *words = pasted(on_run("verify", StoreSpec(uri), device="cpu", image_id="0012e4"), shell)
    config = composed(job, words)
    assert (config.run, config.device.value, config.image_id) == (uri, "cpu", "0012e4")


def test_a_hint_names_its_run_and_where_it_is_reached() -> None:
    """Of all that speak of a job: one that lacks run=... cannot be pasted."""
    store = StoreSpec("s3://bucket/run", "http://127.0.0.1:9000")
    assert on_run("repair", store) == "darkroom repair run=s3://bucket/run endpoint_url=http://127.0.0.1:9000"
    spoken = re.compile(r"`darkroom (evaluate|repair|retry|report|status|verify)\b")
    files = [path for room in ("jobs", "pipeline/darkroom") for path in Path(room).rglob("*.py")]
    assert [str(path) for path in files if spoken.search(path.read_text())] == []


@pytest.mark.parametrize("shell", SHELLS)
def test_thesame_command_is_the_same(shell: str) -> None:
    words = [f"sampling.negative_prompt={' '.join(NAMES)}", "grid.axes.scheduler=['a b', \"c\"]", "x=~/y"]
    assert pasted(same_command("sweep", words), shell) == ["sweep", *words]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_jobs_print_leads_to_their_run(tmp_path: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / name
    assert run_here("generate", *PAINT, f"output.uri={folder}") == 0
    next((folder / "images").rglob("*.png")).write_bytes(b"damaged")
    run_here("verify", f"run={folder}", "stored=true")
    run_here("repair", f"run={folder}")
    run_here("report", f"run={folder}")
    lines = re.findall(r"^next: +(darkroom .*)$", capsys.readouterr().out, re.MULTILINE)
    assert [line.split()[1] for line in lines] == ["verify", "repair", "evaluate"]
    for line in lines:
        job, *words = pasted(line, "sh")
        assert composed(job, words).run == str(folder)


def test_no_shell_takes_a_readme_command_for_a_pattern() -> None:
    """zsh refuses a word with a bare bracket that names no file."""
    for block in re.findall(r"```sh\n(.*?)```", Path("README.md").read_text(), re.DOTALL):
        bare = re.sub(r"\"[^\"]*\"|'[^']*'|\s#.*|<[^>]*>", "", block)
        assert not re.search(r"\S*[\[*?{]\S*", bare), bare
