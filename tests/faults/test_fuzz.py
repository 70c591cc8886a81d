"""Whatever a file of a run or of prompts holds: a DarkroomError in one line that names the place, or it works."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.api.run import open_run
from darkroom.conf.keys import check_ranges
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.cli import composed
from darkroom.prompts.opening import open_prompts
from darkroom.runs.encoding import FileText, decode, encode
from darkroom.runs.images import stored_objects
from darkroom.runs.reading import records, states
from darkroom.storage.store import Store, open_store, parse_spec
from tests.jobs.helpers import PAINT, run_here

FILE = ("prompts=file", "prompts.uri=prompts.csv")
FEW = settings(max_examples=60, deadline=None, derandomize=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def works_or_is_refused(act: Callable[[], object], *places: str) -> None:
    """One line that names one of the places; anything else that is raised fails the test."""
    refused = None
    try:
        act()
    except DarkroomError as error:
        refused = str(error)
    assert refused is None or "\n" not in refused
    assert refused is None or any(place in refused for place in places), refused


@cache
def a_run() -> dict[str, bytes]:
    """The objects of a small run."""
    with TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts.txt"
        prompts.write_text("a cat\na dog\na bird\n")
        given_here = ("prompts=file", f"prompts.uri={prompts}", f"output.uri={folder}/run", "engine.shard_size=2")
        assert run_here("generate", *PAINT, *given_here) == 0
        store = open_store(parse_spec(f"{folder}/run"))
        return {info.key: store.get(info.key) for info in store.list()}


def damaged_run(folder: str, key: str, data: bytes) -> Store:
    store = open_store(parse_spec(folder))
    for name, original in a_run().items():
        store.put(name, original)
    store.put(key, data)
    return store


def read_all(folder: str) -> None:
    found = open_run(folder)
    states(found.store, found.info, found.cells)
    list(records(found.store))
    list(stored_objects(found.store, found.cells, found.info.output))


@st.composite
def damages(draw: st.DrawFn, data: bytes) -> bytes:
    """Cut off, or with some bytes changed."""
    if draw(st.booleans()):
        return data[: draw(st.integers(0, len(data) - 1))]
    changed = bytearray(data)
    for place in draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=4)):
        changed[place] = draw(st.integers(0, 255))
    return bytes(changed)


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["run.json", "cells/", "metadata/"])
@given(data=st.data())
@FEW
def test_damaged_files_of_a_run(prefix: str, data: st.DataObject) -> None:
    key = next(key for key in a_run() if key.startswith(prefix))
    with TemporaryDirectory() as folder:
        damaged_run(folder, key, data.draw(damages(a_run()[key])))
        works_or_is_refused(lambda: read_all(folder), key, "cells/", "metadata/")


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["run.json", "cells/"])
@given(data=st.data())
@FEW
def test_other_values_in_the_json_of_a_run(prefix: str, data: st.DataObject) -> None:
    key = next(key for key in a_run() if key.startswith(prefix))
    value = json.loads(a_run()[key])
    part = value
    while isinstance(part, dict) and part:
        name = data.draw(st.sampled_from(sorted(part)))
        if not isinstance(part[name], dict) or data.draw(st.booleans()):
            part[name] = data.draw(JSON)
            break
        part = part[name]
    with TemporaryDirectory() as folder:
        damaged_run(folder, key, json.dumps(value).encode())
        works_or_is_refused(lambda: read_all(folder), key, "cells/", "metadata/")


@pytest.mark.slow
@given(data=st.data())
@FEW
def test_other_values_in_records(data: st.DataObject) -> None:
    """Columns that are gone or of another type, keys that lead elsewhere."""
    key = next(key for key in a_run() if key.startswith("metadata/"))
    table = pq.read_table(pa.BufferReader(a_run()[key]))
    name = data.draw(st.sampled_from(table.column_names))
    if data.draw(st.booleans()):
        table = table.drop_columns([name])
    else:
        values = data.draw(
            st.sampled_from(
                [["../../etc/passwd"] * 2, ["", None], [1, 2], [None, None], [b"x", b"y"], ["[1]", '[{"a": 1}]']]
            )
        )
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    with TemporaryDirectory() as folder:
        damaged_run(folder, key, sink.getvalue().to_pybytes())
        works_or_is_refused(lambda: read_all(folder), key)


@pytest.mark.slow
@given(data=st.data())
@FEW
def test_damaged_prompt_files(data: st.DataObject) -> None:
    ending, original = data.draw(st.sampled_from(sorted(prompt_files().items())))
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"prompts{ending}"
        path.write_bytes(data.draw(damages(original)))
        works_or_is_refused(lambda: read_prompts(path), path.name)


@pytest.mark.slow
@given(rows=st.lists(st.dictionaries(st.sampled_from(["prompt", "prompt_id", "seed", "width", "x"]), JSON), max_size=4))
@FEW
def test_any_prompt_rows(rows: list[dict]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "prompts.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        works_or_is_refused(lambda: read_prompts(path), path.name)


@cache
def prompt_files() -> dict[str, bytes]:
    sink = pa.BufferOutputStream()
    table = pa.table({"prompt": [f"a prompt, number {number}" for number in range(50)], "seed": list(range(50))})
    pq.write_table(table, sink, row_group_size=10)
    lines = [json.dumps(row) for row in table.to_pylist()]
    csv = "prompt,seed\n" + "".join(f'"{row["prompt"]}",{row["seed"]}\n' for row in table.to_pylist())
    return {".parquet": sink.getvalue().to_pybytes(), ".jsonl": "\n".join(lines).encode(), ".csv": csv.encode()}


def read_prompts(path: Path) -> None:
    dataset = open_prompts(str(path))
    dataset.scan(1)
    for block in dataset.blocks():
        assert all(row.prompt for row in block.rows)


@pytest.mark.slow
@given(
    key=st.sampled_from(["sampling.guidance_scale", "sampling.seed", "sampling.height", "engine.batch_size",
                         "engine.batch_timeout_s", "output.quality", "prompts.uri", "sampling.negative_prompt"]),
    value=st.text(max_size=12) | st.floats().map(str) | st.integers().map(str),
)  # fmt: skip
@FEW
def test_any_value_of_a_setting(key: str, value: str) -> None:
    works_or_is_refused(lambda: check_ranges(composed("generate", [*FILE, f"{key}={value}"])), key, value, "'")


@given(data=st.data())
@FEW
def test_damaged_images(data: st.DataObject) -> None:
    image_format = data.draw(st.sampled_from(["png", "webp", "jpeg"]))
    import numpy as np

    text = FileText({"parameters": "a\nb", "darkroom": "{}"}, "a\nb", "<x/>")
    whole = encode(np.zeros((16, 24, 3), np.uint8), image_format, 90, text)
    works_or_is_refused(lambda: decode(data.draw(damages(whole))), "image")


def test_an_image_that_claims_to_be_huge_is_refused_before_it_is_decoded() -> None:
    import struct
    import zlib

    head = struct.pack(">IIBBBBB", 20_000, 8_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    bomb += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(DarkroomError, match="20000x8000"):
        decode(bomb)
    with pytest.raises(DarkroomError, match="not readable as an image"):
        decode(b"RIFF" + bytes(100))
    with pytest.raises(DarkroomError, match="not readable as a video"):
        decode(b"GIF89a" + bytes(100))
