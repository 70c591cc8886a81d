"""Prompts that are written read back as the same, in either format."""

from pathlib import Path

import pyarrow as pa
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.opening import open_prompts
from darkroom.prompts.writing import check_path, write_prompts
from tests.prompts.reading import extras, rows

TABLE = pa.table(
    {
        "prompt": ["a \u2028 b", "c", "c"],
        "seed": [1, None, 3],
        "scheduler": ["ddim", None, ""],
        "lang": ["日", None, "c"],
    }
)


@pytest.mark.parametrize("name", ["p.parquet", "p.jsonl"])
def test_what_is_written_reads_back(tmp_path: Path, name: str) -> None:
    dataset, path = open_prompts(TABLE, name="table"), str(tmp_path / name)
    assert write_prompts(dataset, path) == 3
    again = open_prompts(path)
    assert rows(again) == rows(dataset)
    assert extras(again) == extras(dataset)
    assert [each.name for each in tmp_path.iterdir()] == [name]
    with pytest.raises(DarkroomError, match="would be lost"):
        write_prompts(open_prompts(pa.table({"prompt": ["a", ""]}), "record", name="table"), path)


def test_where_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    for path, said in (("p.csv", "give one of these"), ("nowhere/p.jsonl", "its folder does not exist")):
        with pytest.raises(DarkroomError, match=said):
            check_path(str(tmp_path / path))
