"""The documentation site builds, without a warning, and has every job and every setting."""

import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.domain.certificates import PROMISES
from darkroom.domain.settings import SETTINGS
from darkroom.jobs.cli import JOBS, run_job
from darkroom.rendering.families import FAMILIES
from tests.rendering.every_family import MODELS
from tests.test_readme import ROOT


@pytest.mark.slow
def test_the_site_builds(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "infra" / "docs_pages.py", tmp_path / "docs"], check=True, timeout=60)
    build = [Path(sys.executable).with_name("zensical"), "build", "--strict", "--config-file"]
    subprocess.run([*build, tmp_path / "docs" / "zensical.toml"], check=True, timeout=120)
    site = tmp_path / "docs" / "site"
    settings, jobs = (site / "settings.html").read_text(), (site / "jobs.html").read_text()
    assert [name for name in SETTINGS if f"{name}</code>" not in settings] == []
    assert [job for job in JOBS if f'id="{job}"' not in jobs] == []
    assert "darkroom.sweep(" in (site / "python.html").read_text().replace("<span>", "")


def test_the_page_of_families_has_every_model_and_every_promise() -> None:
    """`make families` writes it."""
    lines = (ROOT / "infra" / "docs" / "families.md").read_text().splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    asked = [name for name in PROMISES if name in table[0]]  # one that no model here is asked for may be missing
    assert table[0] == ["class", "model", *asked]
    assert PROMISES.keys() - asked <= {"compiled", "lora_mixing", "control_image"}
    assert {row[1] for row in table[2:]} == set(MODELS)
    assert {row[0] for row in table[2:]} - {""} <= set(FAMILIES)


@pytest.mark.slow
def test_the_pages_commands_name_jobs_and_keys_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    import re
    import shlex

    pages = "\n".join(path.read_text() for path in (ROOT / "infra" / "docs").glob("*.md"))
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", pages, re.DOTALL)).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("darkroom ")]
    assert len(commands) > 10
    for job, *words in commands:
        if ">" in words:
            words = words[: words.index(">")]
        if not any(word.startswith("--config") for word in words):
            run_job(job, [*(word for word in words if word not in ("--cfg", "job")), "--cfg", "job"])
