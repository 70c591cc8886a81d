"""Text files as programs write them: encodings, line ends, quoting and rows of another length."""

import gzip
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.prompts import quoting, texts
from darkroom.prompts.source import open_prompts
from tests.prompts.reading import extras, rows, write


def prompts(file: str) -> list[str]:
    return [row.prompt for row in rows(open_prompts(file))]


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


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("chunk", [3, 4, 5, 1 << 20])
def test_any_line_end_ends_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, chunk: int) -> None:
    monkeypatch.setattr(texts, "_CHUNK_BYTES", chunk)
    lines = ["\ufeffa", "b\u2028c", "d\x0be"]
    assert prompts(write(tmp_path / "p.txt", end.join([*lines, "", ""]))) == ["a", *lines[1:]]
    assert prompts(write(tmp_path / "p.jsonl", end.join(['{"prompt": "a"}', '{"prompt": "b"}', ""]))) == ["a", "b"]
    assert prompts(write(tmp_path / "p.csv", end.join(["prompt,x", "a,1", '"b\nc",2', ""]))) == ["a", "b\nc"]


def test_bytes_that_are_read_otherwise_than_before_are_another_dataset(tmp_path: Path) -> None:
    """A run that was begun with the old reading must not go on with this one."""

    def fingerprint(name: str, text: str) -> str:
        return open_prompts(write(tmp_path / name, text)).scan(1).fingerprint

    def of_bytes(name: str, text: str) -> str:
        file = open_prompts(write(tmp_path / name, text)).sources[0].file
        return file.content_digest()

    for name, text, same in [
        ("p.txt", "a\r\nb\n", True),
        ("p.txt", "a\rb\n", False),
        ("p.tsv", "prompt\tx\na\t1\n", True),
        ("p.tsv", 'prompt\tx\n"a ""b"""\t1\n', True),
        ("p.tsv", 'prompt\tx\n"a" b\t1\n', False),
    ]:
        (source,) = open_prompts(write(tmp_path / name, text)).sources
        assert (source.content_digest() == of_bytes(name, text)) == same, text
        assert fingerprint(name, text) == fingerprint(name, text)


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
        monkeypatch.setattr(quoting, "_CHUNK_BYTES", chunk)
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
    monkeypatch.setattr("darkroom.prompts.delimited._BLOCK_BYTES", 512)
    lines = [f"a{number},1,2" if number % 7 == 0 or number > 990 else f"a{number},1" for number in range(1000)]
    found = rows(open_prompts(write(tmp_path / "p.csv", "\n".join(["prompt,x", *lines])), on_invalid="record"))
    assert [bool(row.error) for row in found] == [line.endswith(",2") for line in lines]
    assert all(row.prompt == ("" if row.error else f"a{row.row}") for row in found)


def test_flags_and_comments_are_rendered_as_they_are_and_said_once(tmp_path: Path) -> None:
    lines = ['--prompt "a" --steps 10', "# a comment", "a blue square", "wet --ar 16:9", "a well-known -- dash"]
    dataset = open_prompts(write(tmp_path / "p.txt", "\n".join(lines)))
    assert [row.prompt for row in rows(dataset)] == lines
    (warning,) = dataset.scan(1).warnings
    assert "3 prompts begin with # or hold flags" in warning


@pytest.mark.parametrize("chunk", [1 << 20, 3])
def test_a_quote_that_is_never_closed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(quoting, "_CHUNK_BYTES", chunk)
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
