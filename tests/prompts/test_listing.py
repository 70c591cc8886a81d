"""Which files a folder or a glob means, on a disk and in a bucket; and what is left out is said by name."""

import gzip
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import boto3
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.source import PromptDataset, open_prompts
from tests.prompts.reading import extras, parquet, rows, write

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


def prompts(dataset: PromptDataset) -> list[str]:
    return [row.prompt for row in rows(dataset)]


NOTES = {"README.txt": "read me", "LICENSE.txt": "MIT", "requirements.txt": "numpy"}


def test_tables_of_several_kinds_are_said_to_be_read_together(put: Put) -> None:
    opened = put({"de/p.csv": "prompt\na cat\n", "p.jsonl": '{"prompt": "a cat"}\n'})
    (warning,) = opened().scan(1).warnings
    assert "1 .csv and 1 .jsonl are read together" in warning
    assert warning.endswith(f"give one kind as 'prompts.uri={opened().name}/**/*.csv'")
    assert (prompts(opened()), prompts(opened("/**/*.csv"))) == (["a cat", "a cat"], ["a cat"])
    assert opened("/**/*.csv").scan(1).warnings == ()


@pytest.mark.parametrize("rest", ["", "/*", "/**/*", "/**"])
def test_notes_beside_a_table_are_left_out_by_name(put: Put, rest: str) -> None:
    dataset = put({**NOTES, "notes of mine.txt": "x", "prompts.csv": "prompt\na cat\n", "a.md": "#", "_SUCCESS": ""})(
        rest
    )
    assert prompts(dataset) == ["a cat"]
    first, second = dataset.scan(1).warnings
    assert all(name in first for name in (*NOTES, "notes of mine.txt"))
    assert "left out a.md (not prompt files by their endings)" in second


@pytest.mark.parametrize("rest", ["", "/*", "/*.txt"])
def test_a_folder_of_lines_is_prompts_but_for_its_notes(put: Put, rest: str) -> None:
    dataset = put({**NOTES, "a.txt": "a cat\n", "readme_animals.txt": "x\n", "b.txt": "a dog\n"})(rest)
    assert prompts(dataset) == ["a cat", "a dog"]
    assert all(name in dataset.scan(1).warnings[0] for name in (*NOTES, "readme_animals.txt"))


def test_notes_alone_are_read_when_they_are_named(put: Put) -> None:
    opened = put({"README.txt": "a cat\n"})
    with pytest.raises(DarkroomError, match=r"nothing there to read; left out README.txt"):
        opened()
    assert prompts(opened("/README.txt")) == ["a cat"]


def test_what_programs_leave_beside_parts_is_no_prompt(put: Put) -> None:
    hidden = {"_SUCCESS": "", "._part-0.csv": "x", ".part-0.csv.crc": "x", "_temporary/0/part-0.csv": "prompt\nno\n"}
    opened = put({**hidden, "part-0.csv": "prompt\na cat\n"})
    for rest in ("", "/*", "/*.csv", "/**/*.csv"):
        assert prompts(opened(rest)) == ["a cat"]
        assert opened(rest).scan(1).warnings == ()
    assert prompts(opened("/_temporary/0/*.csv")) == ["no"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt", "jsonl", "csv.gz", "jsonl.gz", "parquet"])
def test_a_part_of_no_bytes_is_a_part_without_rows(put: Put, tmp_path: Path, ending: str) -> None:
    full: bytes = {
        "txt": b"a cat\n",
        "jsonl": b'{"prompt": "a cat"}\n',
        "parquet": Path(parquet(tmp_path / "x.parquet", {"prompt": ["a cat"]})).read_bytes(),
    }.get(ending.removesuffix(".gz"), b"prompt\na cat\n")
    pack = gzip.compress if ending.endswith(".gz") else bytes
    for first, second in ((full, b""), (b"", full)):
        dataset = put({f"part-0.{ending}": pack(first), f"part-1.{ending}": pack(second)})()
        assert prompts(dataset) == ["a cat"]
        assert len(dataset.sources) == 2  # both tell whether it is the same dataset


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
    kept = opened(columns={"height": None})
    assert [row.overrides for row in rows(kept)] == [()] * 3
    assert sorted(str(more["source_height"]) for more in extras(kept)) == ["64", "None", "None"]
    assert len({opened().scan(1).fingerprint, kept.scan(1).fingerprint}) == 2


def test_links_in_circles_are_entered_once(tmp_path: Path) -> None:
    ds = tmp_path / "ds"
    (ds / "deep").mkdir(parents=True)
    write(ds / "deep" / "a.txt", "a cat\n")
    for name, target in {"x": ds, "y": ds, "deep/z": ds / "deep", "other": ds / "deep"}.items():
        (ds / name).symlink_to(target)
    for rest in ("", "/**/*.txt", "/**"):
        assert prompts(open_prompts(f"{ds}{rest}")) == ["a cat"]


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "prompt\na cat\n")
    (tmp_path / "b.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(DarkroomError, match=r"b.csv: nothing is there, as when a link leads nowhere"):
        open_prompts(str(tmp_path))
