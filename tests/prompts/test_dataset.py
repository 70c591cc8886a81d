"""A dataset's rows: failed records, warnings, files that change while they are read; written and read back."""

import os
from pathlib import Path

import pyarrow as pa
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.dataset import LongPrompts, count_long_prompts, write_parquet
from darkroom.prompts.opening import open_prompts
from tests.prompts.reading import extras, opened, rows, write


def test_invalid_rows_are_kept_when_asked(tmp_path: Path) -> None:
    columns = {
        "prompt": ["a", None, "c", " ", "e", "f"],
        "prompt_id": ["x", "y", "x", None, "z", None],
        "height": [8, 8, 8, 8, 9, 16],
        "num_images_per_prompt": [2, 2, 2, 2, 2, None],
        "tag": list("abcdef"),
    }
    dataset = opened(tmp_path / "p.parquet", columns, on_invalid="record")
    scan, found = dataset.scan(5), rows(dataset)
    assert (scan.num_rows, scan.num_invalid, scan.num_images) == (6, 4, 2 + 5)
    assert [row.error for row in found] == [
        None,
        "column 'prompt' is null",
        "column 'prompt_id' is duplicate: 'x' is the id of row 0 too",
        "column 'prompt' is empty",
        "column 'height' is out of range (needed: a multiple of 8 from 8 to 16384): 9",
        None,
    ]
    assert [row.prompt for row in found] == ["a", "", "c", " ", "e", "f"]
    assert [row.prompt_id for row in found][:2] == ["x", "y"]
    assert len({row.prompt_id for row in found}) == 6
    assert [row["tag"] for row in extras(dataset)] == list("abcdef")
    assert rows(dataset, 2, 1) == found[2:]


def test_extra_columns_do_not_take_a_records_names() -> None:
    table = pa.table({"prompt": ["a"], "sha256": ["b"], "source_sha256": ["c"], "Width": [3], "tag": [1]})
    dataset = open_prompts(table, name="table")
    assert extras(dataset) == [{"source_source_sha256": "b", "source_sha256": "c", "source_Width": 3, "tag": 1}]
    assert dataset.scan(1).warnings == (
        "table: column 'sha256' is carried as 'source_source_sha256', since records have one of that name",
        "table: column 'Width' is not read as 'width', but carried as 'source_Width'; rename it, or set "
        "prompts.columns.width to its name",
    )


def test_a_file_that_changes_is_named(tmp_path: Path) -> None:
    file = tmp_path / "p.parquet"
    dataset = opened(file, {"prompt": ["a", "b", "c"]})
    blocks = dataset.blocks(block_rows=1)
    assert next(blocks).rows[0].prompt == "a"
    os.utime(file, ns=(0, 0))
    with pytest.raises(DarkroomError, match=r"p.parquet: changed"):
        next(blocks)
    with pytest.raises(DarkroomError, match=r"p.parquet: changed"):
        rows(dataset)
    dataset = open_prompts(str(file))
    file.unlink()
    with pytest.raises(DarkroomError, match=r"p.parquet: changed"):
        dataset.scan(1)


def test_flags_and_comments_are_rendered_as_they_are_and_said_once(tmp_path: Path) -> None:
    lines = ['--prompt "a" --steps 10', "# a comment", "a blue square", "wet --ar 16:9", "a well-known -- dash"]
    dataset = open_prompts(write(tmp_path / "p.txt", "\n".join(lines)))
    assert [row.prompt for row in rows(dataset)] == lines
    (warning,) = dataset.scan(1).warnings
    assert "3 prompts begin with # or hold flags" in warning


def test_what_is_written_reads_back_equal(tmp_path: Path) -> None:
    lines = ['{"prompt": "a", "seed": 1, "x": [1, "y"], "row": 5}', '{"prompt": "a", "seed": 1}', '{"prompt": "\\n"}']
    dataset = open_prompts(write(tmp_path / "p.jsonl", "\n".join([*lines[:2], '{"prompt": "b", "x": {}}'])))
    assert write_parquet(dataset, tmp_path / "p.parquet") == 3
    again = open_prompts(str(tmp_path / "p.parquet"))
    assert rows(again) == rows(dataset)
    assert extras(again) == extras(dataset)
    assert again.scan(1).extras_schema.equals(dataset.scan(1).extras_schema, check_metadata=True)
    bad = open_prompts(write(tmp_path / "bad.jsonl", "\n".join(lines)), on_invalid="record")
    with pytest.raises(DarkroomError, match="1 rows are invalid"):
        write_parquet(bad, tmp_path / "bad.parquet")


def words(prompts: list[str]) -> list[int]:
    return [len(prompt.split()) for prompt in prompts]


def test_long_prompts_are_counted_among_the_first_rows() -> None:
    dataset = open_prompts(pa.table({"prompt": ["a b c", "a", "a b", "a b c d"] * 2}), name="table")
    assert count_long_prompts(dataset, words, 2) == LongPrompts(num_checked=8, num_long=4, num_rows=8, limit=2)
    assert count_long_prompts(dataset, words, 2, max_rows=5) == LongPrompts(5, 3, 8, 2)
