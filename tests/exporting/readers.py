"""Opens exports and runs in the folder that is named, as their users do: with datasets, webdataset and mlcroissant.

Run by the Python of an environment that has these; see test_readers.py.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import datasets
import mlcroissant
import webdataset

ROOT = Path(sys.argv[1])
LAST = {
    "lang": "de",
    "tags": ["a", "b"],
    "score": 1.5,
    "meta": {"a": 1, "b": "x"},
    "ü x": "ü17",
    "source_text": "own 17",
}


def rows_of(name: str) -> list[dict]:
    found = datasets.load_dataset(str(ROOT / name), cache_dir=str(ROOT / "cache" / name))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 26, "validation": 10}, found
    return [row for rows in found.values() for row in rows]


for layout, extension in (("parquet", "image"), ("webdataset", "png"), ("imagefolder", "image")):
    samples = rows_of(layout)
    columns = [sample["json"] if layout == "webdataset" else sample for sample in samples]
    late = [row for row in columns if row["text"].endswith(" 17")]
    assert len(late) == 2, late
    assert all({name: row[name] for name in LAST} == LAST for row in late), late
    early = [row for row in columns if row["text"].endswith(" 0")]
    assert all((row["lang"], row["score"], row["tags"]) == (None, None, []) for row in early), early
    assert len({row["prompt_id"] for row in columns}) == 18
    assert {sample[extension].size for sample in samples} == {(16, 16)}
    assert {str(row["when"]).replace("T", " ")[:19] for row in late} == {"2026-01-01 00:00:17"}  # texts, in JSON
    assert layout != "parquet" or late[0]["when"] == datetime(2026, 1, 1, 0, 0, 17, tzinfo=UTC)

for layout, extension, text in (
    ("files", "image", "text"), ("webdataset", "png", "txt"), ("parquet", "image", "prompt")
):  # fmt: skip
    opened = datasets.load_dataset(str(ROOT / f"run-{layout}"), cache_dir=str(ROOT / "cache" / f"run-{layout}"))
    samples = list(opened["train"])
    assert len(samples) == 36, (layout, opened)
    late = [sample for sample in samples if sample[text].endswith(" 17")]
    columns = [sample["json"] if layout == "webdataset" else sample for sample in late]
    assert len(columns) == 2, layout
    assert all({name: row[name] for name in LAST} == LAST for row in columns), columns
    assert {sample[extension].size for sample in samples} == {(16, 16)}

tars = sorted(str(path) for path in (ROOT / "webdataset").glob("*.tar"))
samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode("pil"))
assert len({sample["__key__"] for sample in samples}) == 36
assert all(sample["json"]["text"] == sample["txt"] and sample["png"].size == (16, 16) for sample in samples)

for layout, sets in (("parquet", ["images"]), ("imagefolder", ["files", "images"]), ("webdataset", ["files"])):
    described = mlcroissant.Dataset(jsonld=str(ROOT / layout / "croissant.json"))
    assert not described.metadata.ctx.issues.errors
    for name in sets:
        records = list(described.records(name))
        assert len(records) == 36, (layout, name, len(records))
    if layout != "webdataset":  # of which mlcroissant reads no JSON inside of tars
        assert {record["images/text"] for record in records} == {
            f"a red circle, number {n}".encode() for n in range(18)
        }
print("all opened")
