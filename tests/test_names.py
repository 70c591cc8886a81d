"""Folders and files of a user that are called as ours are, where Python looks first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("darkroom")
PROMPTS = ("prompts=file", "prompts.uri=p.txt", "model=paint", "sampling.height=16", "sampling.width=16")
FAILING = "raise RuntimeError('a user module was imported')\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory full of our names, and of those of libraries."""
    for name in ("pyarrow", "torch", "PIL", "ray", "yaml", "numpy"):
        (tmp_path / f"{name}.py").write_text(FAILING)
    for name in ("pipeline", "conf", "jobs", "darkroom"):
        (tmp_path / f"{name}.py").write_text(FAILING)
        package = tmp_path / "packages" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(FAILING)
    (tmp_path / "p.txt").write_text("a red square\na blue disc\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_users_own_names_break_nothing(folder: Path, engine: str) -> None:
    done = subprocess.run(
        [COMMAND, "generate", *PROMPTS, f"engine={engine}", "output.uri=run"],
        cwd=folder,
        env=_searching(folder / "packages"),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 images rendered" in done.stdout


@pytest.mark.slow
def test_a_users_own_names_on_the_path_break_nothing(tmp_path: Path) -> None:
    for name in ("pipeline", "conf", "jobs", "darkroom"):
        (tmp_path / f"{name}.py").write_text(FAILING)
    done = subprocess.run(
        [COMMAND, "--version"], cwd=tmp_path, env=_searching(tmp_path), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def _searching(folder: Path) -> dict[str, str]:
    """The environment with `folder` first on PYTHONPATH. An empty entry there would mean the working directory."""
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, others)])}
