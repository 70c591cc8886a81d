"""Output that goes nowhere, or where not every letter can go, neither ends a job nor shows a traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.demo import MODEL_FOLDER
from tests.jobs.helpers import PAINT, ROOT, command, run, run_here


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    path = tmp_path / "prömpts ↑.txt"
    path.write_text("".join(f"prompt {number}\n" for number in range(40)))
    given = ["prompts=file", f"prompts.uri={path}", "engine.shard_size=2", f"output.uri={tmp_path / 'run'}"]
    return ["generate", *PAINT, *given]


def said_in_shell(redirection: str, words: list[str], **environ: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the job with a shell's redirection behind it."""
    script = f'"$@" {redirection}'
    call = ["bash", "-c", script, "bash", sys.executable, "-m", "darkroom", *words]
    done = subprocess.run(call, cwd=ROOT, env=os.environ | environ, capture_output=True, timeout=200, check=False)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode()


@pytest.mark.parametrize(
    ("redirection", "environ", "stderr"),
    [
        ("| true; exit ${PIPESTATUS[0]}", {"PYTHONUNBUFFERED": "1"}, ""),
        ("> /dev/full", {}, "darkroom: what is printed is lost (No space left on device); the job goes on\n"),
        (">&- 2>&- <&-", {}, ""),
        ("2> /dev/full", {}, ""),
        ("", {"PYTHONIOENCODING": "ascii"}, ""),
    ],
)
@pytest.mark.slow
def test_a_job_is_done_whatever_becomes_of_its_output(
    words: list[str], tmp_path: Path, redirection: str, environ: dict[str, str], stderr: str
) -> None:
    code, _, said = said_in_shell(redirection, words, **environ)
    assert (code, said) == (0, stderr)
    assert len(list((tmp_path / "run" / "metadata").rglob("*.parquet"))) == 20


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["| head -1; exit ${PIPESTATUS[0]}", "> /dev/full", ">&-"])
def test_a_look_at_a_run_ends_without_a_traceback(words: list[str], tmp_path: Path, redirection: str) -> None:
    run_here(*words)
    code, _, said = said_in_shell(redirection, ["status", f"run={tmp_path / 'run'}"])
    assert code == 0
    assert "Traceback" not in said
    assert "Exception" not in said


@pytest.mark.slow
def test_an_error_of_letters_that_cannot_be_shown_is_one_line(tmp_path: Path) -> None:
    code, _, said = said_in_shell("", ["status", f"run={tmp_path}/é↑"], PYTHONIOENCODING="ascii")
    assert code == 2
    assert said.startswith("darkroom: run: ")
    assert len(said.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["generate", "--cfg", "job"], ["generate", "--help"], ["help"], ["completion", "bash"]]
)
def test_what_is_asked_for_and_cannot_be_printed_is_no_success(words: list[str]) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(command(*words), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    said = "darkroom: what is printed is lost (No space left on device); print it to where there is room\n"
    assert done.stderr == said


@pytest.mark.slow
def test_help_of_a_job_is_its_own() -> None:
    assert run("help", "generate").stdout == run("generate", "--help").stdout
    assert run("help", "genrate").returncode == 2


@pytest.mark.slow
def test_a_working_folder_that_was_removed_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    call = ["bash", "-c", 'cd "$0" && rmdir "$0" && "$@"', str(gone), *command("status", f"run={tmp_path}")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "pipeline")}
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "darkroom: the working folder was removed; go to one that is there, as by `cd ~`\n",
    )


@pytest.mark.slow
def test_letters_of_a_models_files_and_of_prompts_are_read_in_any_locale(tmp_path: Path) -> None:
    model, prompts = tmp_path / "model", tmp_path / "prompts.txt"
    shutil.copytree(MODEL_FOLDER, model)
    for file in model.rglob("*.json"):
        if "_class_name" in (about := json.loads(file.read_bytes())):
            file.write_text(json.dumps(about | {"_name_or_path": "größe ↑"}, ensure_ascii=False), "utf-8")
    prompts.write_text("ein Käfer ↑ 東京\n", "utf-8")
    words = ["plan", "model=diffusers", f"model.repo_id={model}", "prompts=file", f"prompts.uri={prompts}"]
    words += ["engine=local", "engine.proof=off", "sampling.num_inference_steps=1"]
    of_bytes = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    code, _, said = said_in_shell("", words, **of_bytes)
    assert (code, said) == (0, "")
