"""Which column is read as what: by its name, as the command says, or not at all, and then that is said."""

import json
import re
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.columns import READ
from darkroom.prompts.opening import open_prompts
from tests.jobs.helpers import PAINT, run_here
from tests.prompts.reading import extras, parquet, refused, rows, write

PHOTOS = {"caption": ["a dog", "a clock"], "height": [480, 427], "width": [640, 640], "Seed": [5, 6]}


@pytest.fixture(params=["parquet", "csv", "tsv", "jsonl"])
def photos(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    lines = [dict(zip(PHOTOS, cells, strict=True)) for cells in zip(*PHOTOS.values(), strict=True)]
    if request.param == "parquet":
        return parquet(tmp_path / "p.parquet", PHOTOS)
    if request.param == "jsonl":
        return write(tmp_path / "p.jsonl", "\n".join(map(json.dumps, lines)))
    cut = {"csv": ",", "tsv": "\t"}[request.param]
    text = [cut.join(PHOTOS), *(cut.join(str(cell) for cell in line.values()) for line in lines)]
    return write(tmp_path / f"p.{request.param}", "\n".join(text))


def test_a_command_says_which_column_is_read_as_what(photos: str) -> None:
    dataset = open_prompts(photos, columns={"prompt": "caption", "height": None, "width": None, "seed": "Seed"})
    assert [(row.prompt, row.overrides) for row in rows(dataset)] == [
        ("a dog", (("seed", 5),)),
        ("a clock", (("seed", 6),)),
    ]
    assert {name: str(cell) for name, cell in extras(dataset)[1].items()} == {
        "source_height": "427",
        "source_width": "640",
    }
    assert dataset.scan(1).num_overriding == {"seed": 2}
    plain = open_prompts(photos, "record", columns={"prompt": "caption"})
    assert plain.scan(1).num_overriding == {"height": 1, "width": 1}
    assert plain.scan(1).fingerprint != dataset.scan(1).fingerprint


def test_what_is_said_of_columns_is_checked(photos: str) -> None:
    for columns, message in [
        ({}, "prompts.columns.prompt" if "jsonl" not in photos else "no row has a 'prompt'"),
        ({"prompt": None}, "a prompt is needed"),
        ({"prompt": "caption", "seed": "caption"}, "'caption' is named twice"),
        ({"text": "caption"}, "only these are read from columns: prompt, prompt_id"),
    ]:
        with pytest.raises(DarkroomError, match=message):
            open_prompts(photos, columns=columns).scan(1)
    if "jsonl" in photos:
        with pytest.raises(DarkroomError, match=r"no row has 'seeed', and prompts.columns.seed names it"):
            open_prompts(photos, "record", columns={"prompt": "caption", "seed": "seeed"}).scan(1)
    else:
        with pytest.raises(
            DarkroomError, match=r"no column 'text' among 'caption', .* prompts.columns.prompt names it"
        ):
            open_prompts(photos, columns={"prompt": "text"}).scan(1)


def test_what_is_named_as_it_is_anyway_changes_nothing(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", "Prompt,seed\na,1\n")
    named = open_prompts(file, columns={name: name for name in READ})
    assert (rows(named), named.scan(1)) == (rows(open_prompts(file)), open_prompts(file).scan(1))


@pytest.mark.parametrize("name", [name for name in READ if name != "prompt"])
def test_a_column_that_is_nearly_read_is_said_to_be_unused(tmp_path: Path, name: str) -> None:
    for spelled in (name.upper(), name.title(), f" {name}", f"{name} ", name.replace("_", "-").capitalize()):
        dataset = open_prompts(write(tmp_path / "p.csv", f"prompt,{spelled}\na,8\n"))
        assert f"column {spelled!r} is not read as {name!r}" in " ".join(dataset.scan(1).warnings)
        assert list(extras(dataset)[0].values()) == ["8"]


def test_lines_have_no_columns(tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match=r"p.txt: prompts.columns says how columns are read, and lines have none"):
        open_prompts(write(tmp_path / "p.txt", "a\n"), columns={"prompt": "caption"})


def test_the_prompt_may_have_spaces_around_it(tmp_path: Path) -> None:
    assert rows(open_prompts(write(tmp_path / "p.csv", "id, Prompt \n1,a\n")))[0].prompt == "a"


@pytest.mark.slow
def test_overriding_rows_are_said_by_plan_and_generate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "p.csv", "caption,height,width\na dog,16,24\na cat,,\n")
    given = [*PAINT, "prompts=file", f"prompts.uri={file}", "prompts.columns.prompt=caption"]
    for job in ("plan", "generate"):
        assert run_here(job, *given, f"output.uri={tmp_path / 'a'}") == 0
        assert "height (1), width (1)" in capsys.readouterr().out
    given += ["prompts.columns.height=null", "prompts.columns.width=null"]
    assert run_here("generate", *given, f"output.uri={tmp_path / 'b'}") == 0
    assert "override" not in capsys.readouterr().out
    with pytest.raises(
        DarkroomError, match=r"prompts.columns is \{'prompt': 'caption'\} in this run and .*'height': No"
    ):
        run_here("generate", *given, f"output.uri={tmp_path / 'a'}")


def test_the_prompt_column_may_be_spelled_in_any_case(tmp_path: Path) -> None:
    for file in (
        parquet(tmp_path / "p.parquet", {"PROMPT": ["a"]}),
        write(tmp_path / "p.csv", "Prompt\na\n"),
        write(tmp_path / "p.jsonl", '{"Prompt": "a"}'),
    ):
        assert rows(open_prompts(file))[0].prompt == "a"


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet", "memory"])
def test_a_column_that_is_not_there_is_named_with_its_mapping(tmp_path: Path, ending: str) -> None:
    row = {"text": "a", "h": 9}
    place = {
        "jsonl": lambda: write(tmp_path / "p.jsonl", json.dumps(row)),
        "csv": lambda: write(tmp_path / "p.csv", "text,h\na,9\n"),
        "parquet": lambda: parquet(tmp_path / "p.parquet", {"text": ["a"], "h": [9]}),
        "memory": lambda: [row],
    }[ending]()
    said = refused(place, columns={"prompt": "txt"})
    assert re.search(r"no (column|row has) 'txt'.*, and prompts.columns.prompt names it", said)
    assert "prompts.columns.seed names it" in refused(place, columns={"prompt": "text", "seed": "s"})
    assert "column 'h' has 1 out of range row" in refused(place, columns={"prompt": "text", "height": "h"})
