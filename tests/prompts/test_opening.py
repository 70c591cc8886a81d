"""Which files a folder or a glob means as prompts, on a disk and in a bucket; and that all formats read alike."""

import gzip
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import boto3
import pyarrow as pa
import pytest
from pyarrow import fs

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.dataset import PromptDataset
from darkroom.prompts.opening import open_prompts
from tests.prompts.reading import BENCHMARKS, extras, parquet, prompts, refused, rows, write

Put = Callable[[Mapping[str, str | bytes]], Callable[..., PromptDataset]]


@pytest.fixture(params=["disk", "bucket"])
def put(request: pytest.FixtureRequest, tmp_path: Path) -> Put:
    """Puts files somewhere; gives what opens an address relative to them."""

    def on_disk(files: Mapping[str, str | bytes]) -> Callable[..., PromptDataset]:
        for name, text in files.items():
            (tmp_path / "ds" / name).parent.mkdir(parents=True, exist_ok=True)
            write(tmp_path / "ds" / name, text)
        return lambda rest="", **options: open_prompts(f"{tmp_path}/ds{rest}", **options)

    def in_bucket(files: Mapping[str, str | bytes]) -> Callable[..., PromptDataset]:
        endpoint = request.getfixturevalue("s3_endpoint")
        client, prefix = boto3.client("s3", endpoint_url=endpoint), uuid.uuid4().hex
        for name, text in files.items():
            client.put_object(Bucket="bucket", Key=f"{prefix}/{name}", Body=text)
        return lambda rest="", **options: open_prompts(f"s3://bucket/{prefix}{rest}", endpoint_url=endpoint, **options)

    return on_disk if request.param == "disk" else in_bucket


NOTES = {"README.txt": "read me", "LICENSE.txt": "MIT", "requirements.txt": "numpy"}


@pytest.mark.slow
def test_tables_of_several_kinds_are_said_to_be_read_together(put: Put) -> None:
    opened = put({"de/p.csv": "prompt\na cat\n", "p.jsonl": '{"prompt": "a cat"}\n'})
    (warning,) = opened().scan(1).warnings
    assert "1 .csv and 1 .jsonl are read together" in warning
    assert warning.endswith(f"give one kind as 'prompts.uri={opened().name}/**/*.csv'")
    assert (prompts(opened()), prompts(opened("/**/*.csv"))) == (["a cat", "a cat"], ["a cat"])
    assert opened("/**/*.csv").scan(1).warnings == ()


@pytest.mark.slow
@pytest.mark.parametrize("rest", ["", "/*", "/**/*", "/**"])
def test_notes_beside_a_table_are_left_out_by_name(put: Put, rest: str) -> None:
    dataset = put({**NOTES, "notes of mine.txt": "x", "prompts.csv": "prompt\na cat\n", "a.md": "#", "_SUCCESS": ""})(
        rest
    )
    assert prompts(dataset) == ["a cat"]
    first, second = dataset.scan(1).warnings
    assert all(name in first for name in (*NOTES, "notes of mine.txt"))
    assert "left out a.md (not prompt files by their endings)" in second


@pytest.mark.slow
@pytest.mark.parametrize("rest", ["", "/*", "/*.txt"])
def test_a_folder_of_lines_is_prompts_but_for_its_notes(put: Put, rest: str) -> None:
    dataset = put({**NOTES, "a.txt": "a cat\n", "readme_animals.txt": "x\n", "b.txt": "a dog\n"})(rest)
    assert prompts(dataset) == ["a cat", "a dog"]
    assert all(name in dataset.scan(1).warnings[0] for name in (*NOTES, "readme_animals.txt"))


@pytest.mark.slow
def test_notes_alone_are_read_when_they_are_named(put: Put) -> None:
    opened = put({"README.txt": "a cat\n"})
    with pytest.raises(DarkroomError, match=r"nothing there to read; left out README.txt"):
        opened()
    assert prompts(opened("/README.txt")) == ["a cat"]


@pytest.mark.slow
def test_what_programs_leave_beside_parts_is_no_prompt(put: Put) -> None:
    hidden = {"_SUCCESS": "", "._part-0.csv": "x", ".part-0.csv.crc": "x", "_temporary/0/part-0.csv": "prompt\nno\n"}
    opened = put({**hidden, "part-0.csv": "prompt\na cat\n"})
    for rest in ("", "/*", "/*.csv", "/**/*.csv"):
        assert prompts(opened(rest)) == ["a cat"]
        assert opened(rest).scan(1).warnings == ()
    assert prompts(opened("/_temporary/0/*.csv")) == ["no"]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "tsv", "txt", "jsonl", "csv.gz", "jsonl.gz", "parquet"])
def test_a_part_of_no_bytes_is_a_part_without_rows(put: Put, tmp_path: Path, ending: str) -> None:
    full: bytes = {
        "txt": b"a cat\n",
        "jsonl": b'{"prompt": "a cat"}\n',
        "parquet": Path(parquet(tmp_path / "x.parquet", {"prompt": ["a cat"]})).read_bytes(),
    }.get(ending.removesuffix(".gz"), b"prompt\na cat\n")
    pack = gzip.compress if ending.endswith(".gz") else bytes
    fingerprints = set()
    for first, second in ((full, b""), (b"", full)):
        dataset = put({f"part-0.{ending}": pack(first), f"part-1.{ending}": pack(second)})()
        assert prompts(dataset) == ["a cat"]
        fingerprints.add(dataset.scan(1).fingerprint)
    assert len(fingerprints) == 2  # both files tell whether it is the same dataset


@pytest.mark.slow
def test_partitions_are_columns(put: Put, tmp_path: Path) -> None:
    part = Path(parquet(tmp_path / "x.parquet", {"prompt": ["a cat"], "own": ["file's"]})).read_bytes()
    opened = put(
        {
            "lang=de/own=folder/x.parquet": part,
            "lang=a%20b/height=64/y.csv": "prompt\na dog\n",
            "lang=__HIVE_DEFAULT_PARTITION__/z.jsonl": '{"prompt": "a bird"}\n',
        }
    )
    for rest in ("", "/**/*.*", "/lang=*/**/*"):
        found = {
            row.prompt: (dict(row.overrides).get("height"), more)
            for row, more in zip(rows(opened(rest)), extras(opened(rest)), strict=True)
        }
        assert found == {
            "a cat": (None, {"lang": "de", "own": "file's"}),
            "a dog": (64, {"lang": "a b", "own": None}),
            "a bird": (None, {"lang": None, "own": None}),
        }
    opened_without = opened(columns={"height": None})
    assert [row.overrides for row in rows(opened_without)] == [()] * 3
    assert sorted(str(more["source_height"]) for more in extras(opened_without)) == ["64", "None", "None"]
    assert len({opened().scan(1).fingerprint, opened_without.scan(1).fingerprint}) == 2


def test_nothing_to_read_is_named(tmp_path: Path) -> None:
    for uri in (tmp_path, tmp_path / "none.csv", tmp_path / "*.csv", tmp_path / "no" / "*.csv"):
        assert "no such file" in refused(uri)
    assert "gs:// is not read from; use a folder or s3://" in refused("gs://bucket/a.csv")
    assert "not set" in refused("")


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


@pytest.mark.slow
def test_an_s3_address_is_read_and_a_change_is_seen(s3_endpoint: str) -> None:
    store = fs.S3FileSystem(endpoint_override=s3_endpoint.removeprefix("http://"), scheme="http")
    for name, prompt in (("b", "two"), ("a", "one")):
        with store.open_output_stream(f"bucket/prompts/{name}.txt") as stream:
            stream.write(prompt.encode())
    for uri in ("s3://bucket/prompts/", "s3://bucket/prompts/*.txt", "s3://bucket/p*/?.txt"):
        dataset = open_prompts(uri, endpoint_url=s3_endpoint)
        assert [row.prompt for row in rows(dataset)] == ["one", "two"]
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


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize(
    ("name", "text"),
    [("p.txt", "a café\r\n雪\r\n"), ("p.csv", "prompt,x\r\na café,1\r\n雪,2\r\n"),
     ("p.tsv", "prompt\tx\na café\t1\n雪\t2\n"), ("p.jsonl", '{"prompt": "a café"}\n{"prompt": "雪"}\n')],
)  # fmt: skip
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    assert prompts(write(tmp_path / name, text.encode(encoding))) == ["a café", "雪"]
    assert prompts(write(tmp_path / f"{name}.gz", gzip.compress(text.encode(encoding)))) == ["a café", "雪"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.tsv", "p.jsonl"])
def test_without_one_the_likely_encoding_is_named(tmp_path: Path, name: str, encoding: str) -> None:
    text = '{"prompt": "a"}\n' if name == "p.jsonl" else "prompt\na tree\n"
    with pytest.raises(
        DarkroomError, match=f"{name}: not UTF-8 text; .* it is {encoding.upper().replace('-', '', 1)[:3]}"
    ):
        open_prompts(write(tmp_path / name, text.encode(encoding)), on_invalid="record").scan(1)


def test_packed_files_and_byte_order_marks(tmp_path: Path) -> None:
    for ending, text in [
        (".csv", 'prompt,seed\r\n"a ""red"" cube,\nat night",20.0\r\n42,\r\n'),
        (".jsonl", '{"prompt": "a"}\n'),
        (".txt", "a\n"),
    ]:
        plain = open_prompts(write(tmp_path / f"p{ending}", b"\xef\xbb\xbf" + text.encode()))
        packed = open_prompts(write(tmp_path / f"p{ending}.gz", gzip.compress(text.encode())))
        assert rows(plain) == rows(packed)


@pytest.mark.slow
def test_the_room_loads_nothing_heavy() -> None:
    heavy = "torch", "ray", "hydra", "omegaconf", "boto3", "diffusers", "pandas"
    code = f"import sys, darkroom.prompts.opening; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
