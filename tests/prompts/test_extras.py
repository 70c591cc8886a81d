"""Columns that no job reads: whatever is carried can be committed and read again, and a scan says what cannot."""

import datetime
import decimal
import io
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.columns import RESERVED
from darkroom.prompts.dataset import PromptDataset
from darkroom.prompts.opening import open_prompts
from darkroom.runs.manifest import RECORD_SCHEMA, parse
from tests.jobs.helpers import PAINT, run_here
from tests.prompts.reading import extras, opened, parquet, rows, write

VIEW, BYTES_VIEW = pa.string_view(), pa.binary_view()
IDS = [uuid.UUID(int=1), uuid.UUID(int=0x61616161616161616161616161616161)]  # the second one's bytes are UTF-8
DAY = datetime.date(2020, 1, 1)
CELLS = {
    "string_view": (["x", None], VIEW, ["x", None]),
    "binary_view": ([b"\xff", None], BYTES_VIEW, [b"\xff", None]),
    "list of views": ([["x"], None], pa.list_(VIEW), [["x"], None]),
    "large list of views": ([["x"], None], pa.large_list(VIEW), [["x"], None]),
    "fixed list of views": ([["x", "y"], None], pa.list_(VIEW, 2), [["x", "y"], None]),
    "list view": ([["x"], ["y", "z"]], pa.list_view(VIEW), [["x"], ["y", "z"]]),
    "struct of views": (
        [{"a": "x", "b": [b"y"]}, None],
        pa.struct([("a", VIEW), ("b", pa.list_(BYTES_VIEW))]),
        [{"a": "x", "b": [b"y"]}, None],
    ),
    "map": ([[("k", "v")], None], pa.map_(VIEW, VIEW), [[{"key": "k", "value": "v"}], None]),
    "dictionary": (["x", None], pa.dictionary(pa.int8(), pa.string()), ["x", None]),
    "struct of dictionaries": (
        [{"a": "x"}, None],
        pa.struct([("a", pa.dictionary(pa.int8(), pa.string()))]),
        [{"a": "x"}, None],
    ),
    "null": ([None, None], pa.null(), [None, None]),
    "list of null": ([[None], []], pa.large_list(pa.null()), [[None], []]),
    "uuid": ([each.bytes for each in IDS], pa.uuid(), [str(each) for each in IDS]),
    "json": (['{"a": 1}', None], pa.json_(), ['{"a": 1}', None]),
    "bool8": ([1, None], pa.bool8(), [1, None]),
    "half float": ([1.5, None], pa.float16(), [1.5, None]),
    "decimal32": ([decimal.Decimal("1.5"), None], pa.decimal32(5, 2), [decimal.Decimal("1.50"), None]),
    "duration": ([datetime.timedelta(1), None], pa.duration("s"), [datetime.timedelta(1), None]),
    "time": ([datetime.time(1, 2, 3), None], pa.time64("ns"), [datetime.time(1, 2, 3), None]),
    "date": ([DAY, None], pa.date64(), [DAY, None]),
    "fixed bytes": ([b"abcd", None], pa.binary(4), [b"abcd", None]),
}


def committed(dataset: PromptDataset) -> pa.Table:
    """The extra columns as a shard's records bring them back."""
    blocks = list(dataset.blocks(block_rows=1))
    table = pa.concat_tables(block.extras for block in blocks).take(pa.array([1, 0, 0]))
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([each.combine_chunks() for each in table.columns], schema=table.schema), buffer)
    return parse(buffer.getvalue(), table.column_names)


@pytest.mark.parametrize("name", CELLS)
def test_every_type_that_a_file_may_hold_is_carried(tmp_path: Path, name: str) -> None:
    cells, kind, expected = CELLS[name]
    found = committed(opened(tmp_path / "p.parquet", {"prompt": ["a", "b"], "x": pa.array(cells, kind)}))
    assert found["x"].to_pylist() == [expected[1], expected[0], expected[0]]
    assert len(found.to_pandas()) == 3


@pytest.mark.parametrize(
    "cells",
    [
        pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), pa.array(["x", "y"])),
        pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["x", "y"], VIEW)),
        pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array([["x"], ["y"]])),
    ],
)
def test_so_are_types_that_only_memory_holds(cells: pa.Array) -> None:
    found = committed(open_prompts(pa.table({"prompt": ["a", "b"], "x": cells}), name="table"))
    assert found["x"].to_pylist() == [cells[1].as_py(), cells[0].as_py(), cells[0].as_py()]


def test_types_that_no_records_hold_are_named_by_a_look(tmp_path: Path) -> None:
    twice = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])
    for cells in (twice, pa.array([1], pa.timestamp("us", "Mars/Base"))):
        with pytest.raises(DarkroomError, match=r"p.parquet: column 'x' is .*, which records cannot hold \("):
            opened(tmp_path / "p.parquet", {"prompt": ["a"], "x": cells}).scan(1)
    with pytest.raises(DarkroomError, match=r"table: column 'x' is struct<>, which records cannot hold"):
        open_prompts(pa.table({"prompt": ["a"], "x": pa.array([{}], pa.struct([]))}), name="table").scan(1)


def _bad(kind: str) -> pa.Array:
    text = pa.array([b"a", b"\xff", b"c"]).view(pa.string())
    one_each = pa.array([0, 1, 2, 3], pa.int32())
    return {
        "string": text,
        "list": pa.ListArray.from_arrays(one_each, text),
        "struct": pa.StructArray.from_arrays([text], ["a"]),
        "map": pa.MapArray.from_arrays(one_each, pa.array(["a", "b", "c"]), text),
    }[kind]


@pytest.mark.parametrize("kind", ["string", "list", "struct", "map"])
def test_bytes_that_are_not_text_fail_one_row_of_a_typed_file(tmp_path: Path, kind: str) -> None:
    file = parquet(tmp_path / "p.parquet", {"prompt": ["a", "b", "c"], "x": _bad(kind)})
    with pytest.raises(DarkroomError, match="column 'x' has 1 not valid UTF-8 row, first at row 1"):
        open_prompts(file).scan(1)
    dataset = open_prompts(file, on_invalid="record")
    assert dataset.scan(1).num_invalid == 1
    assert [bool(row.error) for row in rows(dataset)] == [False, True, False]
    assert [row["x"] is None for row in extras(dataset)] == [False, True, False]


@pytest.mark.parametrize(("ending", "cut"), [(".csv", ","), (".tsv", "\t")])
def test_bytes_that_are_not_text_fail_one_row_of_a_text_file(tmp_path: Path, ending: str, cut: str) -> None:
    text = f"prompt{cut}author{cut}seed\na{cut}Ann{cut}1\nb{cut}José{cut}2\nc{cut}Eve{cut}é\nd{cut}{cut}4\n"
    dataset = open_prompts(write(tmp_path / f"p{ending}", text.encode("latin-1")), on_invalid="record")
    assert dataset.scan(1).num_invalid == 2
    assert [row.error and row.error.split(":")[0] for row in rows(dataset)] == [
        None,
        "column 'author' is not valid UTF-8",
        "column 'seed' is not valid UTF-8",
        None,
    ]
    assert [row["author"] for row in extras(dataset)] == ["Ann", None, "Eve", None]


def test_cells_of_no_plain_equal_fail_their_row(tmp_path: Path) -> None:
    far = pa.array([0, 2**55], pa.timestamp("ms"))
    fine = pa.array([1000, 1], pa.time64("ns"))
    for cells in (far, fine):
        file = parquet(tmp_path / "p.parquet", {"prompt": ["a", "b"], "x": cells})
        dataset = open_prompts(file, on_invalid="record")
        assert [bool(row.error) for row in rows(dataset)] == [False, True]


def test_the_same_column_of_several_types_is_one_where_nothing_is_lost(tmp_path: Path) -> None:
    cells = [
        pa.array(["x"]).dictionary_encode(),
        pa.array(["x"]),
        pa.array(["x"], VIEW),
        pa.array(["x"], pa.large_string()),
    ]
    for number, each in enumerate([*cells, pa.nulls(1)]):
        parquet(tmp_path / f"{number}.parquet", {"prompt": [f"p{number}"], "x": each})
    assert [row["x"] for row in extras(open_prompts(str(tmp_path)))] == ["x"] * 4 + [None]


def test_a_number_that_the_common_type_would_change_is_named(tmp_path: Path) -> None:
    parquet(tmp_path / "0.parquet", {"prompt": ["a", "b"], "x": [1, 2**53 + 1]})
    parquet(tmp_path / "1.parquet", {"prompt": ["c"], "x": [0.5]})
    with pytest.raises(DarkroomError, match=r"0.parquet: column 'x' has 1 not double row, first at row 1"):
        open_prompts(str(tmp_path)).scan(1)
    (tmp_path / "1.parquet").unlink()
    write(tmp_path / "2.jsonl", '{"prompt": "c", "x": 0.5}\n')
    with pytest.raises(DarkroomError, match=r"0.parquet: column 'x' does not fit the type that lines of JSON give it"):
        open_prompts(str(tmp_path)).scan(1)
    parquet(tmp_path / "0.parquet", {"prompt": ["a", "b"], "x": [1, 2]})
    assert [row["x"] for row in extras(open_prompts(str(tmp_path)))] == [1.0, 2.0, 0.5]


@pytest.mark.slow
def test_no_name_of_a_column_stops_a_run(tmp_path: Path) -> None:
    """All that a record or a reader knows, in three spellings, all at once and beside what they are carried as."""
    names = sorted({spelled for name in RESERVED - {"prompt"} for spelled in (name.capitalize(), name.upper())})
    names += [f"source_{name}" for name in sorted(RESERVED)] + sorted(set(RECORD_SCHEMA.names) - set(_read()))
    names += ["", "a.b", "a b", "é"]
    file = parquet(tmp_path / "p.parquet", {"prompt": ["a cat"], **{name: ["x"] for name in names}})
    run = tmp_path / "run"
    assert run_here("generate", *PAINT, "prompts=file", f"prompts.uri={file}", f"output.uri={run}") == 0
    assert run_here("verify", f"run={run}") == 0
    (records,) = run.glob("metadata/*/*.parquet")
    table = parse(records.read_bytes())
    assert len(set(table.column_names)) == len(RECORD_SCHEMA.names) + len(names)
    assert len(pq.read_table(run / "metadata").to_pandas()) == 1


def _read() -> set[str]:
    from darkroom.prompts.columns import READ

    return set(READ)


@pytest.mark.slow
def test_slots_may_be_called_as_records_columns_are(tmp_path: Path) -> None:
    slots = sorted(set(RECORD_SCHEMA.names) - _read())
    pattern = " ".join(f"{{{name}}}" for name in slots)
    given = f"{{{', '.join(f'{name}: [x]' for name in slots)}}}"
    words = ["prompts=template", f"prompts.pattern='{pattern}'", f"prompts.slots={given}"]
    assert run_here("generate", *PAINT, *words, f"output.uri={tmp_path / 'run'}") == 0
    found = pq.read_table(tmp_path / "run" / "metadata").to_pylist()
    assert [found[0][f"source_{name}"] for name in slots] == ["x"] * len(slots)
