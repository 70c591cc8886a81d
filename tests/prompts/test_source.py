"""Every format, read through the front door."""

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import fs

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.source import open_prompts, write_parquet
from tests.prompts.reading import BENCHMARKS, extras, opened, parquet, rows, write

CSV = 'prompt,seed,guidance_scale,tag\r\n"a ""red"" cube,\nat night",20.0,7.5,007\r\n42,,,NA\r\n'
SAID = [('a "red" cube,\nat night', 20, 7.5), ("42", None, None)]
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(max_size=40).filter(lambda text: text.strip())


def said(dataset) -> list[tuple]:
    names = ("seed", "guidance_scale")
    return [(row.prompt, *(dict(row.overrides).get(name) for name in names)) for row in rows(dataset)]


@pytest.mark.parametrize(
    ("ending", "text"), [(".csv", CSV), (".tsv", CSV.replace("cube,", "cube;").replace(",", "\t"))]
)
def test_quotes_newlines_and_whole_floats_are_read(tmp_path: Path, ending: str, text: str) -> None:
    dataset = open_prompts(write(tmp_path / f"p{ending}", text))
    assert said(dataset) == [(SAID[0][0].replace("cube,", "cube," if ending == ".csv" else "cube;"), 20, 7.5), SAID[1]]
    assert extras(dataset) == [{"tag": "007"}, {"tag": "NA"}]  # text as it is written, whatever it looks like


def test_packed_files_and_byte_order_marks(tmp_path: Path) -> None:
    for ending, text in [(".csv", CSV), (".jsonl", '{"prompt": "a"}\n'), (".txt", "a\n")]:
        plain = open_prompts(write(tmp_path / f"p{ending}", b"\xef\xbb\xbf" + text.encode()))
        packed = open_prompts(write(tmp_path / f"p{ending}.gz", gzip.compress(text.encode())))
        assert rows(plain) == rows(packed)


def test_very_long_prompts_are_read_across_blocks(tmp_path: Path) -> None:
    prompts = [f"{number} " + "long\n" * 200_000 for number in range(6)]
    file = write(tmp_path / "p.csv", "prompt,x\n" + "".join(f'"{prompt}",\n' for prompt in prompts))
    assert [row.prompt for row in rows(open_prompts(file))] == prompts


def test_all_formats_name_the_same_rows_alike(tmp_path: Path) -> None:
    columns = {"prompt": ["a", "b"], "seed": [3, None], "height": [512, 64]}
    pairs = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    files = [
        parquet(tmp_path / "p.parquet", columns),
        write(tmp_path / "p.csv", "prompt,seed,height\na,3,512\nb,,64\n"),
        write(tmp_path / "p.jsonl", "\n".join(map(json.dumps, pairs))),
    ]
    first, *others = [rows(open_prompts(file)) for file in files]
    assert all(other == first for other in others)


def test_lines_end_only_at_newlines(tmp_path: Path) -> None:
    dataset = open_prompts(write(tmp_path / "p.txt", "a\u2028b\x0bc\r\n'quoted', \"as is\"\n\n\n"))
    assert [row.prompt for row in rows(dataset)] == ["a\u2028b\x0bc", "'quoted', \"as is\""]


def test_the_prompt_column_may_be_spelled_in_any_case(tmp_path: Path) -> None:
    for file in (
        parquet(tmp_path / "p.parquet", {"PROMPT": ["a"]}),
        write(tmp_path / "p.csv", "Prompt\na\n"),
        write(tmp_path / "p.jsonl", '{"Prompt": "a"}'),
    ):
        assert rows(open_prompts(file))[0].prompt == "a"


@few
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6, unique_by=lambda pair: pair[1]))
def test_any_text_comes_back_as_it_was(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    pairs = [(_sound(prompt), _sound(name)) for prompt, name in pairs]
    if len({name for _, name in pairs}) < len(pairs) or not all(
        name.strip() and prompt.strip() for prompt, name in pairs
    ):
        return
    lines = "\n".join(json.dumps({"prompt": prompt, "prompt_id": name}) for prompt, name in pairs)
    cells = {"prompt": [prompt for prompt, _ in pairs], "prompt_id": [name for _, name in pairs]}
    for file in (write(tmp_path / "p.jsonl", lines), parquet(tmp_path / "p.parquet", cells)):
        assert [(row.prompt, row.prompt_id) for row in rows(open_prompts(file))] == pairs


@few
@given(st.lists(TEXT, min_size=1, max_size=6))
def test_any_csv_text_comes_back_as_it_was(tmp_path: Path, prompts: list[str]) -> None:
    prompts = [prompt for prompt in map(_sound, prompts) if prompt.strip()] or ["a"]
    quoted = ["prompt,n", *('"' + prompt.replace('"', '""') + '",1' for prompt in prompts)]
    assert [r.prompt for r in rows(open_prompts(write(tmp_path / "p.csv", "\n".join(quoted))))] == prompts


def _sound(text: str) -> str:
    return text.encode(errors="replace").decode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


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


def test_files_join_in_order_and_lacking_columns_are_null(tmp_path: Path) -> None:
    tmp_path = tmp_path / "set"
    tmp_path.mkdir()
    parquet(tmp_path / "b.parquet", {"prompt": ["b"], "x": pa.array([1], pa.int32())})
    parquet(tmp_path / "a.parquet", {"prompt": ["a"], "y": ["z"]})
    parquet(tmp_path / "c.parquet", {"prompt": ["c"], "x": [2]})
    (tmp_path / "_SUCCESS").touch()
    for uri in (tmp_path, tmp_path / "*.parquet", tmp_path / "[a-c].par?uet", tmp_path.parent / "*" / "*.parquet"):
        dataset = open_prompts(str(uri))
        assert [(row.row, row.prompt) for row in rows(dataset)] == [(0, "a"), (1, "b"), (2, "c")]
    assert extras(dataset) == [{"y": "z", "x": None}, {"y": None, "x": 1}, {"y": None, "x": 2}]


def test_a_name_with_brackets_is_itself_before_it_is_a_pattern(tmp_path: Path) -> None:
    assert rows(open_prompts(write(tmp_path / "p[1].txt", "a")))[0].prompt == "a"


def test_parquet_columns_with_dots_and_dictionaries(tmp_path: Path) -> None:
    columns = {"a": [1], "a.b": [2], "c": [{"d": 3}], "prompt": pa.array(["x"]).dictionary_encode(), "seed": [4.0]}
    dataset = opened(tmp_path / "p.parquet", columns)
    assert (rows(dataset)[0].prompt, rows(dataset)[0].overrides) == ("x", (("seed", 4),))
    assert extras(dataset) == [{"a": 1, "a.b": 2, "c": {"d": 3}}]


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl", ".txt"])
def test_reading_may_start_at_any_row(tmp_path: Path, ending: str) -> None:
    prompts = [f"p{number}" for number in range(20)]
    for part in (0, 10):
        some, path = prompts[part : part + 10], tmp_path / f"{part:02}{ending}"
        if ending == ".parquet":
            parquet(path, {"prompt": some}, row_group_size=4)
        else:
            make = (lambda p: json.dumps({"prompt": p})) if ending == ".jsonl" else str
            write(path, "\n".join(["prompt"] * (ending == ".csv") + [make(prompt) for prompt in some]))
    dataset = open_prompts(str(tmp_path))
    whole = rows(dataset)
    for start in range(21):
        assert rows(dataset, start) == whole[start:]
    assert next(dataset.blocks(11, 4)).start == 11


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


def test_an_s3_address_is_read_and_a_change_is_seen(s3_endpoint: str) -> None:
    store = fs.S3FileSystem(endpoint_override=s3_endpoint.removeprefix("http://"), scheme="http")
    for name, prompt in (("b", "two"), ("a", "one")):
        with store.open_output_stream(f"bucket/prompts/{name}.txt") as stream:
            stream.write(prompt.encode())
    for uri in ("s3://bucket/prompts/", "s3://bucket/prompts/*.txt", "s3://bucket/p*/?.txt"):
        dataset = open_prompts(uri, endpoint_url=s3_endpoint)
        assert [row.prompt for row in rows(dataset)] == ["one", "two"]
    assert dataset.sources[1].file.state.etag  # type: ignore[attr-defined]
    assert open_prompts(uri, endpoint_url=s3_endpoint).scan(1).fingerprint == dataset.scan(1).fingerprint
    with store.open_output_stream("bucket/prompts/b.txt") as stream:
        stream.write(b"TWO")  # as long, and within the same second
    with pytest.raises(DarkroomError, match=r"s3://bucket/prompts/b.txt: changed"):
        rows(dataset)
    with pytest.raises(DarkroomError, match="no such file"):
        open_prompts("s3://bucket/nothing/*.txt", endpoint_url=s3_endpoint)


@pytest.mark.skipif(not BENCHMARKS.exists(), reason="the public prompt sets are not on this machine")
@pytest.mark.parametrize(
    ("name", "size", "last", "columns"),
    [
        ("PartiPrompts.tsv", 1632, "a series of musical notes on a computer screen", ["Category", "Challenge", "Note"]),
        ("dpg_bench_prompts.jsonl", 1065, None, ["id"]),
        ("geneval_evaluation_metadata.jsonl", 553, None, ["tag", "include", "exclude"]),
        ("t2i_compbench_color_val.txt", 300, "a black bathroom with a black and white shower curtain", []),
    ],
)
def test_public_prompt_sets_are_read_whole(name: str, size: int, last: str | None, columns: list[str]) -> None:
    dataset = open_prompts(str(BENCHMARKS / name))
    found = rows(dataset, block_rows=500)
    assert len(found) == dataset.scan(1).num_rows == size
    assert last in (None, found[-1].prompt)
    assert sum('"' in row.prompt for row in found) > 0 or not name.startswith("Parti")
    assert dataset.scan(1).extras_schema.names == columns
