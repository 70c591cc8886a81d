"""Prompts in memory: every shape makes the same dataset, and what cannot be one is refused."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from darkroom.api.prompts import prompts_of, template
from darkroom.domain.errors import DarkroomError

ROWS = [{"prompt": "a cat", "seed": 1}, {"prompt": "a dog", "seed": 2}]


def test_every_shape_of_the_same_rows_is_the_same_dataset() -> None:
    shapes = [ROWS, iter(ROWS), pd.DataFrame(ROWS), pa.Table.from_pylist(ROWS)]
    scans = [prompts_of(shape).dataset.scan(1) for shape in shapes]
    assert {scan.num_rows for scan in scans} == {2}
    assert len({scan.fingerprint for scan in scans}) == 1
    assert prompts_of(ROWS[:1]).dataset.scan(1).fingerprint != scans[0].fingerprint


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
    assert (block.rows[0].prompt, block.rows[0].height) == ("a cat", None)


def test_a_template_makes_its_combinations() -> None:
    prompts = template("a {c} circle", {"c": ["red", "blue"]})
    assert prompts_of(prompts) is prompts
    assert prompts.dataset.scan(1).num_rows == 2


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ([], "none are given"),
        (3, "a int is none"),
        (["a", 3], "row 1 is a int"),
        ([{"prompt": "a", "k": 1}, {"prompt": "b", "k": "x"}], "values of one key are of different types"),
        ([{"text": "a"}], "no column 'prompt'"),
        ([{"prompt": "a", "seed": -1}], "seed"),
    ],
)
def test_what_is_no_prompts_is_refused(source: object, words: str) -> None:
    with pytest.raises(DarkroomError, match=words):
        prompts_of(source).dataset.scan(1)


def test_what_is_for_files_alone_is_refused_elsewhere() -> None:
    with pytest.raises(DarkroomError, match="columns: is for prompt files"):
        prompts_of(["a"], columns={"prompt": "text"})
