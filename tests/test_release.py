"""The wheel that people install: what is in it, and that it runs without the checkout."""

import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from darkroom.jobs.cli import composed

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)  # of an earlier build, which setuptools would add to
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, timeout=280)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_a_wheel_takes_one_name_and_has_all_that_runs(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    version = wheel.name.split("-")[1]
    assert {name.split("/")[0] for name in names} == {
        "darkroom",
        f"darkroom-{version}.dist-info",
        f"darkroom-{version}.data",
    }
    in_checkout = {
        f"darkroom/{path.relative_to(folder.parent if folder.name != 'darkroom' else folder)}"
        for folder in (ROOT / "pipeline" / "darkroom", ROOT / "conf", ROOT / "jobs")
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert in_checkout == {name for name in names if name.startswith("darkroom/")}
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_a_wheel_renders_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, timeout=200)
    command = [sys.executable, site / "bin" / "darkroom", "generate", "model=demo", "engine=local", "output.uri=run"]
    done = subprocess.run(
        [*command, "prompts=template", "prompts.pattern=a {colour} square", "prompts.slots.colour=[red]"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "run").rglob("*.png"))


@pytest.mark.slow
def test_the_commands_of_the_makefile_can_be_run() -> None:
    lines = (ROOT / "Makefile").read_text().replace("\\\n", " ").splitlines()
    commands = [shlex.split(line.partition("/darkroom ")[2]) for line in lines if "/darkroom " in line]
    assert len(commands) >= 4
    for job, *words in commands:
        composed(job, words)
