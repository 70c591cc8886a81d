"""Prompts that a caller holds: every kind is read, checked and named as a file of the same rows is."""

import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.prompts import memory
from darkroom.prompts.opening import open_prompts
from tests.prompts.reading import extras, parquet, prompts, refused, rows, write

ROWS = [{"prompt": "a cat", "seed": 5, "tag": "x"}, {"prompt": "a dog", "seed": None, "tag": None}]
AS_ROWS: dict[str, Callable[[], object]] = {
    "list": lambda: ROWS,
    "iterator": lambda: iter(ROWS),
    "generator": lambda: (dict(row) for row in ROWS),
    "DataFrame": lambda: pd.DataFrame(ROWS),
    "table": lambda: pa.Table.from_pylist(ROWS),
    "batch": lambda: pa.RecordBatch.from_pylist(ROWS),
    "reader": lambda: pa.Table.from_pylist(ROWS).to_reader(),
}


@pytest.mark.parametrize("kind", AS_ROWS)
def test_every_kind_is_read_as_a_file_of_the_same_rows_is(tmp_path: Path, kind: str) -> None:
    file = open_prompts(write(tmp_path / "p.jsonl", "\n".join(map(json.dumps, ROWS))))
    dataset = open_prompts(AS_ROWS[kind]())
    assert rows(dataset) == rows(file)
    assert extras(dataset) == extras(file) == [{"tag": "x"}, {"tag": None}]
    assert dataset.scan(2).num_images == 4
    assert rows(dataset, 1) == rows(file)[1:]
    assert rows(dataset) == rows(dataset)  # more than once, an iterator too


def test_texts_are_prompts() -> None:
    assert prompts(open_prompts(["a cat", "a\ndog", "雪"])) == ["a cat", "a\ndog", "雪"]
    assert rows(open_prompts(["a cat"])) == rows(open_prompts([{"prompt": "a cat"}]))


@pytest.mark.parametrize("column", [pd.Series, pa.array, lambda texts: pa.chunked_array([texts[:1], texts[1:]]), tuple])
def test_a_column_is_a_list_of_its_values(column: Callable[[list], object]) -> None:
    assert prompts(open_prompts(column(["a cat", "a dog"]))) == ["a cat", "a dog"]
    assert prompts(open_prompts(column([{"prompt": "a cat"}, {"prompt": "a dog"}]))) == ["a cat", "a dog"]


@pytest.mark.parametrize("given", [{"a cat"}, frozenset({"a cat"}), {"a cat": 1}.keys()])
def test_a_set_has_no_order_to_number_rows_by(given: object) -> None:
    with pytest.raises(DarkroomError, match="has no order, and rows need one"):
        open_prompts(given)


def test_a_path_may_be_an_object(tmp_path: Path) -> None:
    file = write(tmp_path / "p.txt", "a cat\n")
    assert open_prompts(Path(file)).scan(1) == open_prompts(file).scan(1)


def fingerprints() -> dict[str, str]:
    return {kind: open_prompts(make(), name=kind).scan(1).fingerprint for kind, make in AS_ROWS.items()}


@pytest.mark.slow
def test_the_same_content_is_the_same_dataset_in_any_process() -> None:
    found = fingerprints()
    code = "from tests.prompts.test_memory import fingerprints; print(fingerprints())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(found)
    assert found["list"] == found["iterator"] == found["generator"]
    assert found["table"] == found["batch"] == found["reader"]
    changed = [*ROWS[:1], {**ROWS[1], "seed": 6}]
    assert open_prompts(iter(changed)).scan(1).fingerprint != found["iterator"]


@pytest.mark.slow
def test_the_fingerprint_of_a_table_stays() -> None:
    """A run that was begun with the prompts of a table must go on with them, however it is cut into chunks."""
    table = pa.table({"prompt": ['é😀"\\', "b"] * 9000, "when": [datetime.date(2020, 1, 1), None] * 9000})
    text = json.dumps([str(table.schema), table.to_pylist()], default=str)
    expected = digest("prompts", [digest(text, length=64)], length=64)
    for each in (table, pa.concat_tables([table.slice(0, 5), table.slice(5)])):
        assert open_prompts(each).scan(1).fingerprint == expected


def test_an_iterator_is_read_once_and_waits_on_a_disk_where_it_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CHUNK_ROWS", 7)
    monkeypatch.setattr(memory, "IN_MEMORY_BYTES", 100)
    taken: list[int] = []

    def many() -> Iterator[dict[str, object]]:
        for number in range(50):
            taken.append(number)
            yield {"prompt": f"p{number}\n", "x": [number, "y"]}

    dataset = open_prompts(many())
    whole = rows(dataset, block_rows=4)
    assert taken == list(range(50))
    assert [row.prompt for row in whole] == [f"p{number}\n" for number in range(50)]
    for start in range(51):
        assert rows(dataset, start, 11) == whole[start:]
    interleaved = zip(dataset.blocks(0, 5), dataset.blocks(20, 5), strict=False)
    assert all([row.row for row in a.rows] == [row.row - 20 for row in b.rows] for a, b in interleaved)


def test_a_disk_without_room_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w+b", buffering=0) as full:  # noqa: PTH123 - the device on which there is no room
        monkeypatch.setattr(tempfile, "SpooledTemporaryFile", lambda max_size: full)
        with pytest.raises(DarkroomError, match=r"no room for the prompts of an iterator .* set TMPDIR"):
            open_prompts(["a cat"])


def test_values_of_numpy_and_pandas_are_what_they_mean() -> None:
    row = {"prompt": "a", "seed": np.int64(7), "guidance_scale": np.float32(2.5), "height": pd.NA, "v": np.arange(2)}
    dataset = open_prompts([row | {"path": Path("/x"), "when": pd.NaT}])
    assert rows(dataset) == rows(open_prompts([{"prompt": "a", "seed": 7, "guidance_scale": 2.5}]))
    assert extras(dataset) == [{"v": [0, 1], "path": "/x", "when": None}]


def test_frames_keep_types_and_named_indexes() -> None:
    frame = pd.DataFrame(
        {"prompt": ["a", "b", "c"], "seed": [1.0, np.nan, 3.0], "when": pd.to_datetime(["2020-01-01"] * 3)},
        index=pd.Index(["x", "y", "z"], name="place"),
    )
    dataset = open_prompts(frame[frame["prompt"] != "b"])
    assert [row.prompt for row in rows(dataset)] == ["a", "c"]
    assert rows(dataset) == rows(open_prompts([{"prompt": "a", "seed": 1}, {"prompt": "c", "seed": 3}]))
    assert extras(dataset)[1] == {"place": "z", "when": datetime.datetime(2020, 1, 1)}
    assert list(extras(open_prompts(frame.reset_index(drop=True)[1:]))[0]) == ["when"]


def test_columns_are_chosen_as_in_files() -> None:
    for data in ([{"caption": "a", "height": 5}], pd.DataFrame({"caption": ["a"], "height": [5]})):
        dataset = open_prompts(data, columns={"prompt": "caption", "height": None})
        assert (prompts(dataset), extras(dataset)) == (["a"], [{"source_height": 5}])


def test_faulty_rows_may_be_kept() -> None:
    dataset = open_prompts(["a", None, " "], on_invalid="record")
    assert [row.error for row in rows(dataset)] == [None, "column 'prompt' is null", "column 'prompt' is empty"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "prompts: no rows"),
        (["a", None], "prompts: column 'prompt' has 1 null row, first at row 1"),
        ([{"prompt": "a"}, {"prompt": 5}], "column 'prompt' has 1 not text row, first at row 1: 5"),
        ([{"prompt": "a", "seed": "x"}], "column 'seed' has 1 not a number row, needed from 0"),
        ([{"prompt": "a", "height": 9}], "needed a multiple of 8 from 8 to 16384, first at row 0: '9'"),
        ([{"text": "a"}], "no row has a 'prompt'"),
        (["a", 5], "prompts: row 1 is 5; needed a text, or a dict with a 'prompt'"),
        (
            [{"prompt": "a", "when": datetime.date(2020, 1, 1)}],
            "row 0: column 'when' is date datetime.date(2020, 1, 1)",
        ),
        ([{"prompt": "a"}, {"prompt": "b", "x": object}], "row 1: column 'x' is type"),
        ([{"prompt": "a", ("x", 1): 1}], "row 0: column ('x', 1) has a name that is no text"),
        ({"prompt": ["a"]}, "dict is no dataset of prompts; needed a list"),
        (b"a cat", "bytes is no dataset of prompts"),
        ({"a cat", "a dog"}, "prompts: a set has no order, and rows need one; give a sorted list"),
        (frozenset(["a cat"]), "prompts: a frozenset has no order"),
        (5, "int is no dataset of prompts"),
        (pd.DataFrame({"text": ["a"]}), "prompts: no column 'prompt' among 'text'"),
        (pd.DataFrame({"prompt": ["a", "b", None]}), "column 'prompt' has 1 null row, first at row 2"),
        (pd.DataFrame({"prompt": ["a"], "seed": ["5"]}), "column 'seed' is"),
        (pd.DataFrame({"prompt": ["a"] * 9, "x": [*range(7), "y", 8]}), "row 7: column 'x' is str 'y', and of another"),
        (pd.DataFrame([["a", "b"]], columns=["prompt", "prompt"]), "prompts: no usable DataFrame"),
        (pa.table({"prompt": [1]}), "prompts: column 'prompt' is int64, needed text"),
        (np.array("a"), "prompts: ndarray is no dataset of prompts; needed a list"),
        (pd.DataFrame({"prompt": []}), "prompts: no rows"),
        (pd.DataFrame({"prompt": [np.nan]}), "prompts: column 'prompt' has 1 null row, first at row 0"),
        (pd.DataFrame({"prompt": ["a"]}, index=pd.Index(["b"], name="prompt")), "one name twice (cannot insert prompt"),
        (
            pd.DataFrame({"prompt": ["a"]}, index=pd.MultiIndex.from_tuples([(1, 2)], names=["k", "k"])),
            "prompts: the DataFrame's index and columns have one name twice (cannot insert k",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_its_row_and_column(data: object, message: str) -> None:
    assert message in refused(data)
    assert message.replace("prompts:", "mine:") in refused(data, name="mine")


def test_nan_is_nothing_in_a_dict_as_in_a_frame() -> None:
    frame = pd.DataFrame({"prompt": ["a NaN", "b"], "seed": [5, np.nan], "tag": ["t", np.nan], "x": [np.nan, 0.5]})
    dataset = open_prompts(frame.to_dict("records"))
    assert rows(dataset) == rows(open_prompts(frame))
    assert extras(dataset) == [{"tag": "t", "x": None}, {"tag": None, "x": 0.5}]
    assert dataset.scan(1).warnings == ()
    assert "column 'prompt' has 1 null row, first at row 1" in refused([{"prompt": "a"}, {"prompt": np.nan}])


@pytest.mark.parametrize(
    "missing", [None, np.nan, float("nan"), np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT")]
)
@pytest.mark.parametrize("shape", [list, iter, lambda cells: np.array(cells, object), lambda cells: pd.Series(cells)])
def test_a_missing_prompt_is_one_row_in_every_shape(missing: object, shape: Callable[[list], object]) -> None:
    dataset = open_prompts(shape(["a", missing, "b"]), on_invalid="record")
    assert [row.error for row in rows(dataset)] == [None, "column 'prompt' is null", None]
    assert rows(dataset) == rows(open_prompts(pd.DataFrame({"prompt": ["a", None, "b"]}), on_invalid="record"))
    assert "column 'prompt' has 1 null row, first at row 1" in refused(shape(["a", missing, "b"]))


def test_a_text_column_of_nothing_is_no_column_of_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"prompt": ["a"], "negative_prompt": [np.nan]})
    assert rows(open_prompts(frame)) == rows(open_prompts(["a"]))
    assert "no rows" in refused(parquet(tmp_path / "p.parquet", {"prompt": pa.array([], pa.float64())}))


def test_a_column_of_several_types_is_said_to_be_json() -> None:
    dataset = open_prompts([{"prompt": "a", "tag": "t"}, {"prompt": "b", "tag": 5}])
    assert extras(dataset) == [{"tag": '"t"'}, {"tag": "5"}]
    [warning] = dataset.scan(1).warnings
    assert warning.startswith("prompts: column 'tag' holds values of several types, and is carried as JSON text")


@pytest.mark.parametrize("where", [lambda names: names, lambda names: {"x": [names]}])
def test_names_that_would_be_one_are_refused(where: Callable[[dict[object, object]], dict[str, object]]) -> None:
    row = {"prompt": "a"} | where({1: "x", "1": "y"})
    assert "prompts: row 1: 1 and '1' are both named '1' in JSON; rename one of them" in refused(["a", row])
    assert open_prompts([{"prompt": "a"} | where({1: "x", "2": "y"})]).scan(1).num_rows == 1


def test_an_open_file_of_text_is_read_as_a_file_of_lines_is(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes("a cat\r\n雪\n a dog\n\n \n".encode())
    for opened in (path.open(encoding="utf-8"), path.open(encoding="utf-8", newline="")):
        with opened:
            assert rows(open_prompts(opened)) == rows(open_prompts(path))


@pytest.mark.parametrize("index", [["x", "y"], [0.5, 1.5], pd.MultiIndex.from_tuples([("x", 1), ("y", 2)])])
def test_an_index_that_is_not_carried_is_said(index: object) -> None:
    frame = pd.DataFrame({"prompt": ["a", "b"]}, index=index)
    [warning] = open_prompts(frame).scan(1).warnings
    assert warning.startswith("prompts: the DataFrame's index (")
    assert "has no name, and is not carried" in warning
    assert open_prompts(frame.rename_axis(["id"] if frame.index.nlevels == 1 else ["id", "n"])).scan(1).warnings == ()


@pytest.mark.parametrize("frame", [pd.DataFrame({"prompt": ["a", "b"]}), pd.DataFrame({"prompt": ["a"]}, index=[7])])
def test_positions_are_no_index_to_carry(frame: pd.DataFrame) -> None:
    assert open_prompts(frame).scan(1).warnings == ()
    assert "no rows" in refused(frame[:0])


@pytest.mark.parametrize("cells", [[1j, 2j], pd.arrays.SparseArray([0, 1])], ids=["complex", "sparse"])
def test_a_column_of_a_type_that_arrow_has_not_is_named(cells: object) -> None:
    frame = pd.DataFrame({"prompt": ["a", "b"], "x": cells})
    with pytest.raises(DarkroomError, match=r"column 'x' is (complex128|Sparse.*), which no Arrow type is"):
        open_prompts(frame)


def test_a_row_that_is_shown_is_one_line() -> None:
    with pytest.raises(DarkroomError, match="row 0 is ") as caught:
        open_prompts(pd.DataFrame({"prompt": ["a", "b"]}).groupby("prompt"))
    assert "\n" not in str(caught.value)
