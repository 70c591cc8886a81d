"""Files of lines and of JSON objects: where a line ends, what a cell may hold, and what a bad line costs."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.prompts import lines
from darkroom.prompts.opening import open_prompts
from tests.prompts.reading import TEXT, extras, few, parquet, prompts, rows, sound, write


def test_lines_end_only_at_newlines(tmp_path: Path) -> None:
    dataset = open_prompts(write(tmp_path / "p.txt", "a\u2028b\x0bc\r\n'quoted', \"as is\"\n\n\n"))
    assert [row.prompt for row in rows(dataset)] == ["a\u2028b\x0bc", "'quoted', \"as is\""]


@pytest.mark.slow
@few
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6, unique_by=lambda pair: pair[1]))
def test_any_text_comes_back_as_it_was(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    pairs = [(sound(prompt), sound(name)) for prompt, name in pairs]
    if len({name for _, name in pairs}) < len(pairs) or not all(
        name.strip() and prompt.strip() for prompt, name in pairs
    ):
        return
    lines = "\n".join(json.dumps({"prompt": prompt, "prompt_id": name}) for prompt, name in pairs)
    cells = {"prompt": [prompt for prompt, _ in pairs], "prompt_id": [name for _, name in pairs]}
    for file in (write(tmp_path / "p.jsonl", lines), parquet(tmp_path / "p.parquet", cells)):
        assert [(row.prompt, row.prompt_id) for row in rows(open_prompts(file))] == pairs


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.slow
@few
@given(st.lists(JSON, min_size=1, max_size=5), st.integers(1, 5))
def test_any_json_is_carried_in_one_type_or_as_text(tmp_path: Path, values: list[object], block_rows: int) -> None:
    lines = "\n".join(json.dumps({"prompt": "a", "x": value}) for value in values)
    dataset = open_prompts(write(tmp_path / "p.jsonl", lines))
    field = dataset.scan(1).extras_schema.field("x")
    found = [row["x"] for row in extras(dataset, block_rows=block_rows)]
    if field.metadata:
        found = [None if text is None else json.loads(text) for text in found]
        assert found == values
    else:
        pq.write_table(pa.table({"x": pa.array(found, field.type)}), tmp_path / "x.parquet")  # any type can be kept
        assert [value is None for value in found] == [value is None for value in values]


def test_json_of_one_shape_keeps_its_type(tmp_path: Path) -> None:
    lines = '{"prompt": "a", "x": [{"n": 1}]}\n{"prompt": "b"}\n{"prompt": "c", "x": [{"m": "y"}]}\n'
    dataset = open_prompts(write(tmp_path / "p.jsonl", lines))
    assert [row["x"] for row in extras(dataset, block_rows=1)] == [[{"n": 1, "m": None}], None, [{"n": None, "m": "y"}]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("chunk", [3, 4, 5, 1 << 20])
def test_any_line_end_ends_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, chunk: int) -> None:
    monkeypatch.setattr(lines, "CHUNK_BYTES", chunk)
    said = ["\ufeffa", "b\u2028c", "d\x0be"]
    assert prompts(write(tmp_path / "p.txt", end.join([*said, "", ""]))) == ["a", *said[1:]]
    assert prompts(write(tmp_path / "p.jsonl", end.join(['{"prompt": "a"}', '{"prompt": "b"}', ""]))) == ["a", "b"]
    assert prompts(write(tmp_path / "p.csv", end.join(["prompt,x", "a,1", '"b\nc",2', ""]))) == ["a", "b\nc"]


def test_a_line_with_nul_bytes_is_never_rendered(tmp_path: Path) -> None:
    dataset = open_prompts(write(tmp_path / "p.txt", b"a cat\na \0 dog\n\0\n"), on_invalid="record")
    assert [row.error for row in rows(dataset)] == [
        None,
        "column 'prompt' is not text: b'a \\x00 dog'",
        "column 'prompt' is not text: b'\\x00'",
    ]


def test_broken_utf_16_is_named(tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match=r"p.txt: cannot be read as txt"):
        open_prompts(write(tmp_path / "p.txt", "a cat\n".encode("utf-16") + b"\x00\xd8a\x00")).scan(1)


@pytest.mark.parametrize(
    ("name", "text", "is_plain"),
    [
        ("p.txt", "a\r\nb\n", True),
        ("p.txt", "a\rb\n", False),
        ("p.jsonl", '{"prompt": "a"}\r', False),
        ("p.tsv", "prompt\tx\na\t1\n", True),
        ("p.tsv", 'prompt\tx\n"a ""b"""\t1\n', True),
        ("p.tsv", 'prompt\tx\n"a" b\t1\n', False),
    ],
)
def test_bytes_that_are_read_otherwise_than_before_are_another_dataset(
    tmp_path: Path, name: str, text: str, is_plain: bool
) -> None:
    """A run that was begun with the old reading must not go on with this one."""
    uri = write(tmp_path / name, text)
    of_bytes = digest("prompts", [hashlib.sha256(text.encode()).hexdigest()], length=64)
    fingerprint = open_prompts(uri).scan(1).fingerprint
    assert (fingerprint == of_bytes) == is_plain
    assert open_prompts(uri).scan(1).fingerprint == fingerprint


def test_invalid_lines_are_kept_when_asked(tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl", '{"prompt": "a"}\nnope\n{"x": 1}\n{"prompt": "b", "x": 2}\n')
    dataset = open_prompts(file, on_invalid="record")
    assert [bool(row.error) for row in rows(dataset)] == [False, True, True, False]
    assert rows(dataset)[1].error.startswith("the row is not JSON: Expecting value")
    assert [row["x"] for row in extras(dataset)] == [None, None, 1, 2]
