"""Chosen rows: the same ones from every format, from any row on, in an order that the seed alone decides."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.dataset import PromptDataset, with_rows
from darkroom.prompts.opening import mixed_prompts, open_prompts
from darkroom.prompts.selection import RowSet, Selection
from tests.prompts.reading import extras, few, parquet, prompts, rows, write

NUM_ROWS = 9_000  # more than are counted together
COLUMNS: dict[str, list[object]] = {
    "prompt": [f"cat {row}" for row in range(NUM_ROWS)],
    "score": [row % 10 for row in range(NUM_ROWS)],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, table = tmp_path_factory.mktemp("rows"), pa.table(COLUMNS)
    parquet(folder / "p.parquet", COLUMNS, row_group_size=1300)
    csv.write_csv(table, folder / "p.csv")
    write(folder / "p.jsonl", "".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    (folder / "parts").mkdir()
    parquet(folder / "parts" / "1.parquet", {name: each[:2000] for name, each in COLUMNS.items()})
    parquet(folder / "parts" / "2.parquet", {name: each[2000:] for name, each in COLUMNS.items()})
    return folder


def chosen(source: object, **selection: object) -> PromptDataset:
    return with_rows(open_prompts(source), Selection(**selection))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "selection",
    [
        {"limit": 8500},
        {"where": "try_cast(score as int) = 7"},
        {"where": "prompt like '%9'", "sample": 50},
        {"sample": 4_000, "limit": 3_500},
        {"where": "prompt not like '%9'", "sample": 100, "shuffle": True, "limit": 60},
    ],
    ids=str,
)
@pytest.mark.slow
def test_every_format_gives_the_same_rows_from_any_row_on(folder: Path, selection: dict[str, object]) -> None:
    found = {name: chosen(str(folder / name), **selection) for name in ("p.parquet", "p.csv", "p.jsonl", "parts")}
    first, *others = ([(row.row, row.prompt) for row in rows(each, 0, 4096)] for each in found.values())
    assert len(first) == found["parts"].scan(1).num_rows
    assert others == [first] * 3
    for each in found.values():
        assert [(row.row, row.prompt) for row in rows(each, len(first) // 2, 999)] == first[len(first) // 2 :]
    numbers = [int(prompt.removeprefix("cat ")) for _, prompt in first]
    assert len(set(numbers)) == len(numbers)
    assert (sorted(numbers) != numbers) == ("shuffle" in selection)
    assert [row["score"] for row in extras(found["p.parquet"])] == [number % 10 for number in numbers]


@pytest.mark.slow
def test_the_seed_alone_decides_what_is_drawn(folder: Path) -> None:
    source = str(folder / "p.parquet")
    first = prompts(chosen(source, sample=300))
    assert prompts(chosen(source, sample=300)) == first
    assert len({*first} & {*prompts(chosen(source, sample=300, row_seed=1))}) < 100
    assert {*prompts(chosen(source, sample=100))} < {*first}  # a larger sample goes on with a smaller one
    assert {*prompts(chosen(source, sample=300, shuffle=True))} == {*first}
    numbers = np.array([int(each.removeprefix("cat ")) for each in first])
    assert abs(numbers.mean() - NUM_ROWS / 2) < 4 * NUM_ROWS / 12**0.5 / 300**0.5  # all parts of the file alike


def test_rows_are_chosen_in_order_and_known_by_what_was_said() -> None:
    source = ["a", "b", "aa", "c", "ab"]
    dataset = chosen(source, where="prompt like 'a%'", limit=2)
    assert prompts(dataset) == ["a", "aa"]
    assert prompts(chosen(source, limit=10)) == source
    fingerprints = [
        each.scan(1).fingerprint for each in (open_prompts(source), dataset, chosen(source, limit=2), chosen(source))
    ]
    assert len({*fingerprints}) == 3
    assert fingerprints[0] == fingerprints[3]
    whole = {row.prompt: row.prompt_id for row in rows(open_prompts(source))}
    assert [row.prompt_id for row in rows(dataset)] == [whole["a"], whole["aa"]]  # so images are the same ones


def test_a_condition_takes_the_columns_name_in_the_file(tmp_path: Path) -> None:
    file = parquet(tmp_path / "p.parquet", {"Caption": ["a cat", "a dog"], "height": [64, 8]})
    dataset = open_prompts(file, columns={"prompt": "Caption", "height": None})
    assert prompts(with_rows(dataset, Selection(where="Caption like '%dog' and source_height = 8"))) == ["a dog"]


def test_a_column_that_some_files_lack_is_null_in_them(tmp_path: Path) -> None:
    parquet(tmp_path / "1.parquet", {"prompt": ["a", "b"], "score": [1, 2]})
    parquet(tmp_path / "2.parquet", {"prompt": ["c"]})
    assert prompts(chosen(str(tmp_path), where="score > 1")) == ["b"]
    assert prompts(chosen(str(tmp_path), where="score is null")) == ["c"]
    assert prompts(chosen([{"prompt": "a"}, {"prompt": "b", "score": 2}], where="score > 1")) == ["b"]


def test_lines_of_json_have_one_type_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.prompts.selection.PASS_ROWS", 2)
    monkeypatch.setattr("darkroom.prompts.chosen.PASS_ROWS", 2)
    given = [{"prompt": "a", "tag": "x"}, {"prompt": "b", "tag": "y", "meta": {"h": 1}}]
    given += [{"prompt": "c", "tag": 5, "meta": {"w": 2}}, {"prompt": "d", "tag": "x"}]  # type: ignore[list-item]
    assert prompts(chosen(given, where="tag = 'x'")) == ["a", "d"]
    assert prompts(chosen(given, where="meta.w = 2")) == ["c"]
    assert prompts(chosen(given, where="meta is null", limit=1)) == ["a"]
    shuffled = chosen(given, shuffle=True)
    assert sorted(prompts(shuffled)) == ["a", "b", "c", "d"]
    assert sorted(row["tag"] for row in extras(shuffled)) == ['"x"', '"x"', '"y"', "5"]
    with pytest.raises(DarkroomError, match="column 'tag' is text"):
        chosen(given, where="tag = 5").scan(1)


def test_settings_are_numbers_in_every_format(tmp_path: Path) -> None:
    lines = write(tmp_path / "p.csv", "prompt,width,note\na,512,\xe9\nb,768.0,\nc,,\n".encode("latin-1"))
    (tmp_path / "parts" / "width=64").mkdir(parents=True)
    write(tmp_path / "parts" / "width=64" / "p.csv", "prompt\na\n")
    for source in (lines, [{"prompt": "a", "width": 512}, {"prompt": "b", "width": 768}, {"prompt": "c"}]):
        assert prompts(chosen(source, where="width > 512")) == ["b"]
        assert prompts(chosen(source, where="width is null")) == ["c"]
    recorded = with_rows(open_prompts(lines, "record"), Selection(where="note is null"))
    assert prompts(recorded) == ["a", "b", "c"]  # bytes that are no text say nothing
    assert prompts(chosen(str(tmp_path / "parts"), where="width = 64")) == ["a"]


def test_columns_of_any_type_are_taken() -> None:
    columns = {
        "prompt": pa.array(["a", "b"], pa.string_view()),
        "view": pa.array([None, "x"], pa.string_view()),
        "runs": pa.RunEndEncodedArray.from_arrays([1, 2], ["x", "y"]),
        "half": pa.array([0.5, 1.5], pa.float16()),
    }
    for where in ("view = 'x'", "runs = 'y'", "half > 1"):
        for shuffle in (False, True):
            dataset = chosen(pa.table(columns), where=where, shuffle=shuffle)
            assert prompts(dataset) == ["b"]
            assert extras(dataset) == [{"view": "x", "runs": "y", "half": 1.5}]


def test_a_file_without_rows_is_told(tmp_path: Path) -> None:
    file = parquet(tmp_path / "p.parquet", {"prompt": pa.array([], pa.string())})
    for selection in ({"shuffle": True}, {"where": "prompt = 'a'"}, {"limit": 1}):
        with pytest.raises(DarkroomError, match="no rows; a run needs at least one prompt"):
            chosen(file, **selection).scan(1)


def test_rows_at_fault_are_named_as_the_file_has_them(tmp_path: Path) -> None:
    file = parquet(tmp_path / "p.parquet", {"prompt": ["a", "b", "c", None], "keep": [0, 0, 1, 1]})
    with pytest.raises(DarkroomError, match=r"first at row 1 \(row 3 of this file\)"):
        chosen(file, where="keep = 1").scan(1)
    with pytest.raises(DarkroomError, match=r"first at row \d \(.*p.parquet, row 3 of this file\)"):
        chosen(file, where="keep = 1", shuffle=True).scan(1)
    lines = write(tmp_path / "p.csv", "prompt,keep\na,0\nb,1,9\nc,1\n")
    with pytest.raises(DarkroomError, match="1 row is"):  # one that cannot be read is told, whatever the condition
        chosen(lines, where="keep = '1'").scan(1)


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ({"where": "size > 1"}, r"prompts.where=size > 1: no column 'size'; there are prompt, score"),
        ({"where": "score >\n100"}, r"prompts.where=score > 100: no row of .* is so; give another condition"),
        ({"sample": 9_001}, r"prompts.sample=9001: .* has 9,000 rows to choose from; give a smaller number, or "),
        ({"where": "score > 8", "sample": 901}, "has 900 rows to choose from"),
    ],
)
def test_what_cannot_be_chosen_is_refused(folder: Path, selection: dict[str, object], said: str) -> None:
    for name in ("p.parquet", "p.jsonl"):
        with pytest.raises(DarkroomError, match=said):
            chosen(str(folder / name), **selection).scan(1)


def test_more_rows_than_memory_holds_are_not_shuffled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.prompts.chosen.MOST_SHUFFLED", 100)
    with pytest.raises(DarkroomError, match=r"9,000 rows of .* are chosen, and 100 are held in memory at most"):
        chosen(str(folder / "p.parquet"), shuffle=True).scan(1)
    assert chosen(str(folder / "p.parquet"), shuffle=True, sample=100).scan(1).num_rows == 100


@few
@given(st.lists(st.booleans(), max_size=40), st.integers(0, 3))
def test_a_set_of_rows_is_read_from_any_of_them(mask: list[bool], scale: int) -> None:
    flags = np.repeat(np.array(mask, bool), 1000 * scale + 1)
    rows_, expected = RowSet(flags), np.flatnonzero(flags)
    assert len(rows_) == len(expected)
    for number in range(0, len(expected), 997):
        row, before = rows_.seek(number)
        found = row + rows_.among(row, len(flags) - row)
        assert list(found[number - before :]) == list(expected[number:])


# Several files -------------------------------------------------------------------------------------------------------


def mixed(tmp_path: Path, **selection: object) -> PromptDataset:
    """20 cats of a table, 6 dogs of lines."""
    parquet(tmp_path / "cats.parquet", {"caption": [f"cat {number}" for number in range(20)]})
    write(tmp_path / "dogs.txt", "\n".join(f"dog {number}" for number in range(6)))
    uris = [str(tmp_path / name) for name in ("cats.parquet", "dogs.txt")]
    return with_rows(mixed_prompts(uris, {"prompt": "caption"}), Selection(**selection))  # type: ignore[arg-type]


def test_rows_of_several_files_say_where_they_are_from(tmp_path: Path) -> None:
    found = mixed(tmp_path)
    assert prompts(found)[19:21] == ["cat 19", "dog 0"]
    assert extras(found)[19:21] == [{"source": "cats.parquet"}, {"source": "dogs.txt"}]


@pytest.mark.parametrize(
    ("selection", "cats", "dogs"),
    [
        ({"weights": (3, 1), "sample": 8}, 6, 2),
        ({"weights": (3, 1)}, 18, 6),  # all that the lesser one has a share of
        ({"weights": (1, 1), "limit": 7}, 4, 3),
        ({"weights": (0.5, 0.25), "sample": 10, "limit": 8, "shuffle": True}, None, None),
        ({"weights": (10, 1), "where": "source = 'dogs.txt' or prompt like 'cat 1%'"}, 11, 1),
    ],
)
def test_weights_decide_how_many_rows_of_each_are_drawn(
    tmp_path: Path, selection: dict[str, object], cats: int | None, dogs: int | None
) -> None:
    found = prompts(mixed(tmp_path, **selection))
    assert len(set(found)) == len(found)
    if cats is None:
        assert len(found) == 8
        return
    assert [sum(row.startswith(name) for row in found) for name in ("cat", "dog")] == [cats, dogs]


def test_a_draw_by_weights_is_seeded_and_each_files_own(tmp_path: Path) -> None:
    drawn = [prompts(mixed(tmp_path, weights=(3, 1), sample=8, row_seed=seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    more = prompts(mixed(tmp_path, weights=(3, 1), sample=16))
    assert set(drawn[0]) < set(more)


def test_weights_that_cannot_be_held_are_refused(tmp_path: Path) -> None:
    for selection, words in (
        ({"weights": (3, 1), "sample": 25}, "dogs.txt has 6 rows .* give prompts.sample=24 or less"),
        ({"weights": (3,)}, "needed 2, one for each"),
    ):
        with pytest.raises(DarkroomError, match=words):
            mixed(tmp_path, **selection).scan(1)
    with pytest.raises(DarkroomError, match=r"prompts\.weights=\[1\]: is for several files"):
        with_rows(open_prompts(str(tmp_path / "dogs.txt")), Selection(weights=(1,)))
