"""CSV and TSV files as programs write them: quoting, line ends in cells and rows of another length."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.domain.errors import DarkroomError
from darkroom.prompts import delimited
from darkroom.prompts.opening import open_prompts
from tests.prompts.reading import TEXT, extras, few, prompts, rows, sound, write

CSV = 'prompt,seed,guidance_scale,tag\r\n"a ""red"" cube,\nat night",20.0,7.5,007\r\n42,,,NA\r\n'


SAID = [('a "red" cube,\nat night', 20, 7.5), ("42", None, None)]


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


@pytest.mark.slow
def test_very_long_prompts_are_read_across_blocks(tmp_path: Path) -> None:
    texts = [f"{number} " + "long\n" * 200_000 for number in range(6)]
    assert prompts(write(tmp_path / "p.csv", "prompt,x\n" + "".join(f'"{text}",\n' for text in texts))) == texts


@pytest.mark.slow
@few
@given(st.lists(TEXT, min_size=1, max_size=6))
def test_any_csv_text_comes_back_as_it_was(tmp_path: Path, texts: list[str]) -> None:
    texts = [text for text in map(sound, texts) if text.strip()] or ["a"]
    quoted = ["prompt,n", *('"' + text.replace('"', '""') + '",1' for text in texts)]
    assert prompts(write(tmp_path / "p.csv", "\n".join(quoted))) == texts


AS_WRITTEN = [
    '"Hello" sign on a wall',
    '"Hello"',
    '"unclosed at the start',
    "a plain tree",
    'another "one"',
    '"G I G G L E" painted',
    'its end"',
]


def test_quotes_in_tab_separated_cells_are_as_they_are_written(tmp_path: Path) -> None:
    text = "prompt\tx\n" + "".join(f"{prompt}\t{number}\n" for number, prompt in enumerate(AS_WRITTEN))
    file = write(tmp_path / "p.tsv", text)
    assert prompts(file) == AS_WRITTEN
    assert [row["x"] for row in extras(open_prompts(file))] == list("0123456")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('prompt\tx\n"a ""b"" c"\t1\n"Hello"\t2\n', ['a "b" c', "Hello"]),  # doubled quotes
        ('"prompt"\t"x"\n"Hello"\t"1"\n', ["Hello"]),  # a quoted header
        ('prompt\tx\n"a\tb"\t1\n', ["a\tb"]),  # a tab in a cell
        ('prompt\tx\n"a\nb"\t1\nc\t2\n', ["a\nb", "c"]),  # a line end in a cell
        ('prompt\n"a\nb"\n', ["a\nb"]),
        ('prompt\tx\n"to be\t1\nor not to be"\t2\n', ['"to be', 'or not to be"']),  # two rows of two cells
    ],
)
def test_quoting_is_told_by_what_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: list[str]
) -> None:
    for chunk in (1 << 20, 16):
        monkeypatch.setattr(delimited, "CHUNK_BYTES", chunk)
        assert prompts(write(tmp_path / "p.tsv", text)) == expected


@pytest.mark.parametrize(("ending", "cut"), [(".csv", ","), (".tsv", "\t")])
def test_a_ragged_row_is_one_bad_row(tmp_path: Path, ending: str, cut: str) -> None:
    cells = [["prompt", "x"], ["one"], ["a", "1"], ["b", "2", "3"], ["c", "4"], ["d", "5", "", ""]]
    file = write(tmp_path / f"p{ending}", "\n".join(cut.join(row) for row in cells))
    dataset = open_prompts(file, on_invalid="record")
    assert dataset.scan(1).num_invalid == 3
    assert [row.prompt for row in rows(dataset)] == ["", "a", "", "c", ""]
    assert rows(dataset)[2].error == f"the row is not of the header's 2 columns: 3 cells: {cut.join(cells[3])!r}"
    assert [row["x"] for row in extras(dataset)] == [None, "1", None, "4", None]
    assert rows(dataset, 2, 1) == rows(dataset)[2:]
    with pytest.raises(DarkroomError, match="3 rows are not of the header's 2 columns, first at row 0: 1 cell: 'one'"):
        open_prompts(file).scan(1)


def test_ragged_rows_keep_their_places_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.prompts.delimited.BLOCK_BYTES", 512)
    lines = [f"a{number},1,2" if number % 7 == 0 or number > 990 else f"a{number},1" for number in range(1000)]
    found = rows(open_prompts(write(tmp_path / "p.csv", "\n".join(["prompt,x", *lines])), on_invalid="record"))
    assert [bool(row.error) for row in found] == [line.endswith(",2") for line in lines]
    assert all(row.prompt == ("" if row.error else f"a{row.row}") for row in found)


@pytest.mark.parametrize("chunk", [1 << 20, 3])
def test_a_quote_that_is_never_closed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(delimited, "CHUNK_BYTES", chunk)
    for text in (
        'prompt\n"a cat\na dog\n',
        'x,prompt\n1,"a cat\n2,a ""dog""\n',
        'x,prompt\n1,"a"\n2,"a ""\ndog\n',
        'prompt,x\n"a cat,1\na dog,2\n',
    ):
        with pytest.raises(DarkroomError, match=r"p.csv: a quote that begins a cell is never closed"):
            open_prompts(write(tmp_path / "p.csv", text), on_invalid="record").scan(1)
    for text in ('x,prompt\n5" nails,"a\nb"\n', 'x,prompt\n"1","a ""\n"""\n', 'x,prompt\n1,"a\nb"c\n'):
        assert len(prompts(write(tmp_path / "p.csv", text))) == 1
