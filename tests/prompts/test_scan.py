"""What is refused, in one line that names the file, the rows and the remedy."""

from pathlib import Path

import pyarrow as pa
import pytest

from tests.prompts.reading import parquet, refused, write


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prompt": ["a", None, None]}, "column 'prompt' has 2 null rows, first at row 1; mend or drop them, or set"),
        ({"prompt": ["a", " \u3000\n"]}, "column 'prompt' has 1 empty row, first at row 1;"),
        (
            {"prompt": ["a"], "height": [513]},
            "1 out of range row, needed a multiple of 8 from 8 to 16384, first at row 0: 513",
        ),
        ({"prompt": ["a"], "guidance_scale": [float("nan")]}, "needed from 0 to 1000, first at row 0: nan"),
        ({"prompt": ["a"], "seed": [-1]}, "out of range"),
        ({"prompt": ["a"], "seed": pa.array([2**63], pa.uint64())}, "out of range"),
        ({"prompt": ["a"], "num_inference_steps": [2.5]}, "1 not a whole number row"),
        ({"prompt": ["a"], "num_images_per_prompt": [0]}, "out of range"),
        (
            {"prompt": ["a", "b"], "prompt_id": ["x", "x"]},
            "1 duplicate row, first at row 1: 'x' is the id of row 0 too",
        ),
        ({"prompt": [5]}, "column 'prompt' is int64, needed text"),
        ({"prompt": ["a"], "seed": ["5"]}, "column 'seed' is string, needed an integer"),
        ({"prompt": ["a"], "height": [True]}, "column 'height' is bool, needed an integer"),
        ({"text": ["a"], "url": ["b"]}, "no column 'prompt' among 'text', 'url'"),
        ({"prompt": pa.array([], pa.string())}, "no rows"),
    ],
)
def test_parquet_trouble_is_named(tmp_path: Path, columns: dict, message: str) -> None:
    error = refused(parquet(tmp_path / "p.parquet", columns))
    assert "p.parquet" in error
    assert message in error


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.txt", "a\n\nb\n", "1 empty row, first at row 1 (line 2)"),
        ("p.txt", b"a\n\xff\n", "1 not valid UTF-8 row, first at row 1 (line 2): b'\\xff'"),
        ("p.csv", b"prompt,x\na,\n\xff,\n", "1 not valid UTF-8 row, first at row 1"),
        ("p.csv", "prompt,seed\na,x\n", "column 'seed' has 1 not a number row, needed from 0"),
        ("p.csv", "prompt,seed\na,1,2\n", "1 row is not of the header's 2 columns, first at row 0: 3 cells: 'a,1,2'"),
        ("p.csv", "prompt,prompt\na,b\n", "column 'prompt' is there twice"),
        ("p.csv", "text\na\n", "no column 'prompt' among 'text'"),
        ("p.csv", "", "cannot be read as csv"),
        ("p.csv", "prompt\n", "no rows"),
        ("p.jsonl", '{"prompt": "a"}\n\n{"prompt"\n[1]\n', "1 row is not JSON, first at row 1 (line 3)"),
        ("p.jsonl", '{"prompt": "a"}\n[1]\n', "1 row is not a JSON object, first at row 1 (line 2): [1]"),
        ("p.jsonl", '{"prompt": 5}', "1 not text row, first at row 0 (line 1): 5"),
        ("p.jsonl", '{"prompt": "\\ud800"}', "1 not valid Unicode row"),
        ("p.jsonl", '{"prompt": "a", "seed": true}', "1 not a number row"),
        ("p.jsonl", '{"prompt": "a", "seed": 1e400}', "not a whole number"),
        ("p.jsonl", '{"prompt": "a", "seed": 99999999999999999999}', "out of range"),
        ("p.jsonl", '{"text": "a"}', "no row has a 'prompt'"),
        ("p.parquet", b"PAR1 but not really", "cannot be read as parquet"),
        ("p.parquet", b"", "cannot be read as parquet"),
        ("p.jsonl.gz", b"not gzip at all", "cannot be read as jsonl"),
        ("p.xlsx", b"", "ending '.xlsx' is not that of a prompt file"),
    ],
)
def test_text_trouble_is_named(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    error = refused(write(tmp_path / name, text))
    assert name in error
    assert message in error


def test_the_file_of_another_schema_is_named(tmp_path: Path) -> None:
    for number in range(10):
        parquet(tmp_path / f"{number}.parquet", {"prompt": ["a"], "x": ["text" if number != 6 else 5]})
    assert "6.parquet: column 'x' is int64, but string in the files before it" in refused(tmp_path)
    parquet(tmp_path / "6.parquet", {"caption": ["a"]})
    assert "6.parquet: no column 'prompt'" in refused(tmp_path)


def test_a_row_is_counted_in_the_dataset_and_in_its_file(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", {"prompt": ["a", "b"]})
    parquet(tmp_path / "b.parquet", {"prompt": ["c", None]})
    assert "b.parquet: column 'prompt' has 1 null row, first at row 3 (row 1 of this file)" in refused(tmp_path)
