"""The README's commands and links are what they say."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from darkroom.api.options import EngineOptions
from darkroom.domain.settings import ROW_SETTINGS, Sampling, settings_of
from darkroom.jobs.cli import JOBS, composed, run_job
from tests.jobs.helpers import PAINT, run_here

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
LINES = "\n".join(BLOCKS).replace("\\\n", " ").splitlines()
PLACES = {"<output.uri>": "/tmp/run", "<other run>": "/tmp/other", "<hub id or local folder>": "someone/model"}


def commands() -> list[list[str]]:
    lines = [line for line in LINES if ".venv/bin/darkroom " in line and "eval " not in line]
    for place, value in PLACES.items():
        lines = [line.replace(place, value) for line in lines]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_no_block_has_a_comment() -> None:
    """An interactive zsh takes one for words of the command."""
    assert [line for line in LINES if re.search(r"(^|\s)#", line)] == []


@pytest.mark.slow
@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_names_a_job_and_keys_that_exist(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the files that the commands name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments" / "experiment").mkdir(parents=True)
    for name in ("mine.yaml", "experiments/experiment/mine.yaml"):
        (tmp_path / name).write_text("# @package _global_\nmodel: {dtype: float32}\n")
    job, *overrides = words[: words.index(">")] if ">" in words else words
    assert job in JOBS
    if "--help" in overrides or "--cfg" in overrides:
        run_job(job, overrides)
    else:
        composed(job, overrides)


@pytest.mark.slow
def test_the_template_command_renders(tmp_path: Path) -> None:
    [words] = [words for words in commands() if "prompts=template" in words]
    assert run_here(words[0], *words[1:], *PAINT, f"output.uri={tmp_path / 'run'}") == 0


def test_every_job_is_in_the_readme() -> None:
    assert {job for job in JOBS if f"darkroom {job}" not in README} == set()


def test_links_and_pictures_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def names(text: str) -> set[str]:
    """Of the words in backquotes."""
    return set(re.findall(r"`([a-z_0-9]+)`", text))


def between(first: str, last: str) -> str:
    prose = " ".join(README.split())
    assert prose.count(first) == 1
    return prose.split(first)[1].split(last)[0]


def test_lists_of_settings_are_those_of_the_table() -> None:
    rows = between("Only `prompt` is required.", "are read where present")
    assert names(rows) == {"prompt_id", *(each.name for each in ROW_SETTINGS)}
    plain = {each.name for each in settings_of(Sampling) if not each.lossy}
    assert names(between("are in `sampling`:", "`null` for the scheduler")) == plain
    lossy = {each.name for each in settings_of(Sampling) if each.lossy}
    assert lossy <= names(between("Faster at a price", "swept beside"))


def test_the_table_of_engine_keys_has_each_of_them() -> None:
    keys = {f"engine.{each.name}" for each in fields(EngineOptions) if each.name != "kind"}  # which is `engine=`
    assert set(re.findall(r"^\| `(engine\.[a-z_]+)` \|", README, re.MULTILINE)) == keys


def test_prose_is_wrapped() -> None:
    text = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert [line for line in text.splitlines() if len(line) > 120 and not line.startswith(("|", "!"))] == []


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", "\n".join(BLOCKS), re.MULTILINE)) <= targets


@pytest.mark.slow
def test_the_python_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "darkroom.generate" in block]
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(compile(code, "README.md", "exec"), found)
    assert found["image"].info["record"].seed == 7
    assert found["best"] in found["sweep"].cells
    assert (tmp_path / "runs" / "grid" / "report" / "index.html").is_file()
