"""Parquet files: columns of any name and type, and row groups that are not needed."""

import os
from pathlib import Path

import pyarrow as pa
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.opening import open_prompts
from tests.prompts.reading import extras, opened, parquet, refused, rows


def test_parquet_columns_with_dots_and_dictionaries(tmp_path: Path) -> None:
    columns = {"a": [1], "a.b": [2], "c": [{"d": 3}], "prompt": pa.array(["x"]).dictionary_encode(), "seed": [4.0]}
    dataset = opened(tmp_path / "p.parquet", columns)
    assert (rows(dataset)[0].prompt, rows(dataset)[0].overrides) == ("x", (("seed", 4),))
    assert extras(dataset) == [{"a": 1, "a.b": 2, "c": {"d": 3}}]


def test_rows_before_the_start_are_not_decoded(tmp_path: Path) -> None:
    file = parquet(tmp_path / "p.parquet", {"prompt": ["a" * 1000, "b"]}, row_group_size=1)
    dataset = open_prompts(file)
    dataset.scan(1)
    state = Path(file).stat()
    data = bytearray(Path(file).read_bytes())
    data[4:40] = b"\xff" * 36  # the first row group
    Path(file).write_bytes(data)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert rows(dataset, 1)[0].prompt == "b"
    with pytest.raises(DarkroomError, match=r"p.parquet: cannot be read as parquet"):
        rows(dataset)


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    file = Path(parquet(tmp_path / "p.parquet", {"prompt": ["a"] * 100}))
    file.write_bytes(file.read_bytes()[:-20])
    assert "p.parquet: cannot be read as parquet" in refused(file)
