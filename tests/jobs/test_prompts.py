"""`darkroom prompts`: prompts of any kind shown and written, without a model."""

import json
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from tests.jobs.helpers import run_here

TEMPLATE = ("prompts=template", "prompts.pattern=photo {n} of a {colour} hat")


@pytest.mark.slow
def test_rows_are_shown_from_any_number_on_and_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    few = "prompts.slots={n: {from: 1, to: 3}, colour: [red, blue]}"
    path = tmp_path / "p.jsonl"
    assert run_here("prompts", *TEMPLATE, few, "start=4", "num_shown=1", f"write_to={path}") == 0
    shown = capsys.readouterr().out
    assert "6 rows, 0 of them invalid" in shown
    assert "\n4  photo 3 of a red hat\n" in shown
    assert "photo 3 of a blue hat" not in shown
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["n"] for line in lines] == ["1", "1", "2", "2", "3", "3"]
    assert run_here("prompts", "prompts=file", f"prompts.uri={path}", "prompts.sample=2", "num_shown=5") == 0
    assert capsys.readouterr().out.count("prompt_id=") == 2


@pytest.mark.slow
def test_a_billion_rows_are_shown_at_once(capsys: pytest.CaptureFixture) -> None:
    plain = "prompts.slots={n: {from: 1, to: 1000000000}, colour: [red]}"
    assert run_here("prompts", *TEMPLATE, plain, "prompts.indexed=true", "start=999999999") == 0
    assert "\n999999999  photo 1000000000 of a red hat\n" in capsys.readouterr().out


@pytest.mark.slow
def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match="start=64: there are 64 rows"):
        run_here("prompts", "start=64")
    with pytest.raises(DarkroomError, match="give one of these"):
        run_here("prompts", f"write_to={tmp_path}/p.csv")


@pytest.mark.slow
def test_a_plan_writes_a_page_of_its_prompts(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "words.txt").write_text("ring\n")
    small = ("engine=local", "engine.proof=off", "sampling.num_inference_steps=1", "sampling.height=32")
    page = tmp_path / "page.html"
    words = f"words={tmp_path}/words.txt"
    assert run_here("plan", *small, "sampling.width=32", f"report={page}", words, f"output.uri={tmp_path}/run") == 0
    assert f"prompts' report: {page}" in capsys.readouterr().out
    found = json.loads(page.with_suffix(".json").read_text())
    [lengths] = found["lengths"]
    assert (lengths["encoder"], lengths["limit"], found["num_looked_at"]) == ("CLIP (text_encoder)", 32, 64)
    assert found["words"]["num_rows"] > 0
    assert "Length: CLIP (text_encoder)" in page.read_text()
    for given, said in ((words, "does nothing without report=true"), (f"report={tmp_path}/p.txt", "ends in .html")):
        with pytest.raises(DarkroomError, match=said):
            run_here("plan", *small, given)
