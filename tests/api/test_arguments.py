"""Prompts in memory: every shape makes the same dataset, and what cannot be one is refused."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from darkroom.api.arguments import prompts_of, select, template
from darkroom.domain.errors import DarkroomError

ROWS = [{"prompt": "a cat", "seed": 1}, {"prompt": "a dog", "seed": 2}]


def test_every_shape_of_the_same_rows_is_read_alike() -> None:
    shapes = [ROWS, iter(ROWS), pd.DataFrame(ROWS), pa.Table.from_pylist(ROWS)]
    datasets = [prompts_of(shape).dataset for shape in shapes]
    rows = [[row for block in dataset.blocks() for row in block.rows] for dataset in datasets]
    assert rows[0] == rows[1] == rows[2] == rows[3]
    fingerprints = [dataset.scan(1).fingerprint for dataset in datasets]
    assert fingerprints[0] == fingerprints[1]
    assert prompts_of(pd.DataFrame(ROWS)).dataset.scan(1).fingerprint == fingerprints[2]
    assert prompts_of(ROWS[:1]).dataset.scan(1).fingerprint != fingerprints[0]


def test_rows_may_have_different_keys_and_texts_are_prompts() -> None:
    rows = ["a cat", {"prompt": "a dog", "kind": "pet"}]
    [block] = prompts_of(rows).dataset.blocks()
    assert [row.prompt for row in block.rows] == ["a cat", "a dog"]
    assert block.extras["kind"].to_pylist() == [None, "pet"]


@pytest.mark.parametrize("given", [str, Path])
def test_a_place_is_a_file(given: type, tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("a cat\na dog\n")
    prompts = prompts_of(given(path))
    assert (prompts.kind, prompts.dataset.scan(2).num_images) == ("file", 4)


def test_columns_are_read_as_they_are_called(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("caption,height\na cat,333\n")
    prompts = prompts_of(path, columns={"prompt": "caption", "height": None})
    [block] = prompts.dataset.blocks()
    [row] = block.rows
    assert row.prompt == "a cat"
    assert "height" not in dict(row.overrides)


def test_a_template_makes_its_combinations() -> None:
    prompts = template("a {c} circle", {"c": ["red", "blue"]})
    assert prompts_of(prompts) is prompts
    assert prompts.dataset.scan(1).num_rows == 2


@pytest.mark.parametrize("make", [lambda: "demo", lambda: template("a {c}", {"c": ["red"]})])
@pytest.mark.parametrize(
    ("option", "value"),
    [("on_invalid", "record"), ("columns", {"prompt": "text"}), ("endpoint_url", "http://127.0.0.1:1")],
)
def test_what_says_how_prompts_are_read_is_refused_where_none_are(make: Any, option: str, value: Any) -> None:
    with pytest.raises(DarkroomError, match=rf"{option}: is for prompts of files or in memory, .* leave it out"):
        prompts_of(make(), **{option: value})


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ([], "memory: no rows"),
        (3, "memory: int is no dataset of prompts"),
        (["a", 3], "memory: row 1 is 3"),
        ([{"prompt": "a", "k": {1}}], "row 0: column 'k' is set"),
        ([{"text": "a"}], "prompt"),
        ([{"prompt": "a", "seed": -1}], "seed"),
    ],
)
def test_what_is_no_prompts_is_refused(source: object, words: str) -> None:
    with pytest.raises(DarkroomError, match=words):
        prompts_of(source).dataset.scan(1)


def test_columns_of_a_table_are_read_as_they_are_called() -> None:
    [block] = prompts_of(pd.DataFrame({"caption": ["a cat"]}), columns={"prompt": "caption"}).dataset.blocks()
    assert block.rows[0].prompt == "a cat"
    with pytest.raises(DarkroomError, match="prompts_endpoint_url: is for prompt files"):
        prompts_of(["a"], endpoint_url="http://127.0.0.1:1")


def test_prompts_are_named_for_a_later_command_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("prompt\na red circle\n")
    monkeypatch.chdir(tmp_path)
    given = prompts_of("a.csv", columns={"height": None})
    assert given.name == "a.csv"
    assert given.settings == {
        "kind": "file",
        "uri": str(tmp_path / "a.csv"),
        "on_invalid": "fail",
        "columns": {"height": None},
    }
    in_memory = prompts_of([{"text": "a red circle"}], "record", {"prompt": "text"})
    assert in_memory.settings == {"kind": "memory", "on_invalid": "record", "columns": {"prompt": "text"}}


# Rows ----------------------------------------------------------------------------------------------------------------


def test_rows_of_any_prompts_are_chosen_once() -> None:
    for prompts in (["a cat", "a dog", "a cow"], template("a {c}", {"c": ["cat", "dog", "cow"]})):
        found = select(prompts, where="prompt like '%c%'", limit=1)
        assert [row.prompt for block in found.dataset.blocks() for row in block.rows] == ["a cat"]
        assert found.settings.items() >= {"where": "prompt like '%c%'", "limit": 1}.items()
        with pytest.raises(DarkroomError, match="rows are chosen already; give all conditions in one select"):
            select(found, limit=1)
    assert select("demo").settings == prompts_of("demo").settings


def test_a_seed_that_draws_nothing_is_refused() -> None:
    with pytest.raises(DarkroomError, match=r"row_seed=3 does nothing without .*sample, .*shuffle or .*weights"):
        select("demo", row_seed=3)


def test_a_condition_without_duckdb_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(DarkroomError, match=r"where needs the package duckdb; run `pip install 'darkroom\[sql\]'`"):
        select("demo", where="prompt = 'a'")
