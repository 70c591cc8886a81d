"""Where a command's prompts may come from, beside a file: standard input, several files, and presets."""

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest

import darkroom
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.overrides import composed
from tests.jobs.helpers import PAINT, command, run_here


def piped(text: str, *words: str) -> subprocess.CompletedProcess:
    given = command("generate", *PAINT, "prompts=file", "prompts.uri=-", *words)
    return subprocess.run(given, input=text, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.slow
def test_standard_input_is_kept_with_the_run_which_goes_on_from_it(tmp_path: Path) -> None:
    run, words = tmp_path / "run", (f"output.uri={tmp_path / 'run'}", "engine.shard_size=1")
    first = piped('{"prompt": "a cat", "n": 1}\n{"prompt": "a dog", "n": 2}\n', *words)
    assert first.returncode == 0, first.stderr
    (kept,) = (run / "prompts").iterdir()
    about = json.loads((run / "run.json").read_text())["prompts"]
    assert (about["name"], about["settings"]["uri"]) == ("standard input", str(kept))
    assert pd.read_parquet(run / "metadata")["n"].tolist() == [1, 2]
    max((run / "metadata").rglob("*.parquet")).unlink()  # as if it had been killed
    assert run_here("generate", *PAINT, "prompts=file", f"prompts.uri={kept}", *words) == 0
    assert len(pd.read_parquet(run / "metadata")) == 2


def test_a_cluster_does_not_see_standard_input() -> None:
    words = ["generate", "prompts=file", "prompts.uri=-", "output.uri=s3://bucket/run"]
    with pytest.raises(DarkroomError, match=r"prompts\.uri=-"):
        run_here("submit", "to=ray", f"job={words[0]}", *words[1:], "dry_run=true")
    words[2] = "prompts.uri=[s3://bucket/a.csv,b.csv]"
    with pytest.raises(DarkroomError, match=r"prompts\.uri\[1\]=b\.csv: a relative path"):
        run_here("submit", "to=ray", f"job={words[0]}", *words[1:], "dry_run=true")


@pytest.mark.parametrize("text", ["a b.csv", "[0-9]*.csv", "q=1/x(1).csv", "{a}"])
def test_an_address_is_taken_whole(text: str) -> None:
    assert composed("generate", ["prompts=file", f"prompts.uri={text}"]).prompts.uri == text


@pytest.mark.parametrize("text", ["[]", "[a,[b]]", "{a: b.csv}"])
def test_what_is_no_list_of_addresses_is_named(text: str) -> None:
    with pytest.raises(DarkroomError, match=r"prompts\.uri"):
        run_here("generate", *PAINT, "prompts=file", f"prompts.uri={text}")


@pytest.mark.slow
def test_several_files_are_one_run_whose_report_says_how_to_make_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("caption,height\n" + "".join(f"cat {number},480\n" for number in range(9)))
    (tmp_path / "b.txt").write_text("dog 1\ndog 2\ndog 3\n")
    run = f"output.uri={tmp_path / 'run'}"
    uris, weights = f"prompts.uri=[{tmp_path / 'a.csv'},{tmp_path / 'b.txt'}]", "prompts.weights=[2,1]"
    words = [*PAINT, "prompts=file", uris, weights, "prompts.preset=coco", "prompts.sample=6", run]
    assert run_here("generate", *words) == 0
    found = darkroom.open_run(tmp_path / "run")
    assert found.records["source"].value_counts().to_dict() == {"a.csv": 4, "b.txt": 2}
    assert found.info.prompts.settings["weights"] == [2, 1]
    assert run_here("report", f"run={tmp_path / 'run'}") == 0
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "prompts.preset=coco" in page
    rows = darkroom.select([tmp_path / "a.csv", tmp_path / "b.txt"], weights=[2, 1], sample=6, preset="coco")
    assert rows.dataset.scan(1).fingerprint == found.info.prompts.fingerprint


@pytest.mark.slow
def test_a_preset_is_a_choice_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*PAINT, "prompts=preset.parti", "output.uri=run"]
    with pytest.raises(DarkroomError, match=r"PartiPrompts\.tsv: no such file.* get it from https://"):
        run_here("generate", *words)
    (tmp_path / "PartiPrompts.tsv").write_text("Prompt\tCategory\nbond\tAbstract\n")
    assert run_here("generate", *words) == 0
    assert darkroom.open_run("run").records["Category"].tolist() == ["Abstract"]


def test_what_is_read_once_is_read_alone() -> None:
    with pytest.raises(DarkroomError, match=r"- is standard input, and is read alone"):
        run_here("generate", *PAINT, "prompts=file", "prompts.uri=[-,a.txt]")
