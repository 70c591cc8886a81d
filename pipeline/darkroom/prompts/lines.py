"""Files of lines: one prompt a line, or one JSON object a line.

Lines end in \n, \r\n or \r and nowhere else, whatever Unicode thinks of U+2028. JSON has a parser of its own, so that a
bad line is one row with its number; an extra column keeps an Arrow type, nested too, where its values agree on one, and
is JSON text where they do not.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import AnyStr, TypeVar

import pyarrow as pa

from darkroom.prompts.columns import READ, TEXT, ColumnMapping
from darkroom.prompts.extras import JSON_TEXT, is_json_text
from darkroom.prompts.sources import Fault, SourceBlock, shown
from darkroom.storage.input_files import InputFile

CHUNK_BYTES = 1 << 20

Numbered = tuple[int, bytes]  # a line's number, from 1, and the line
Row = TypeVar("Row")


@dataclass(frozen=True)
class LinesSource:
    """One prompt a line. Blank lines are empty prompts, save those at the end of the file."""

    file: InputFile

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> pa.Schema:
        return pa.schema([("prompt", pa.string())])

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        with self.file.reading(), self.file.open_text() as stream:
            numbered = islice(without_blank_end(numbered_lines(stream)), start, None)
            while rows := list(islice(numbered, block_rows)):
                self.file.check_unchanged()
                cells = pa.array([line for _, line in rows], pa.binary())
                numbers = [number for number, _ in rows]
                yield SourceBlock(numbers[0] - 1, pa.table({"prompt": cells}), _not_text(rows), numbers)

    def check_unchanged(self) -> None:
        self.file.check_unchanged()

    def content_digest(self) -> str:
        return _lines_digest(self.file)


@dataclass(frozen=True)
class JsonlSource:
    """One JSON object a line. Blank lines are skipped; a line that is no object is a faulty row."""

    file: InputFile
    mapping: ColumnMapping = field(default_factory=ColumnMapping)

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> None:
        """Known once every row is read."""

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        for first, numbers, found in numbered_blocks(self.file, start, block_rows, without_blanks):
            yield object_block(first, found, types, self.mapping, numbers)

    def check_unchanged(self) -> None:
        self.file.check_unchanged()

    def content_digest(self) -> str:
        return _lines_digest(self.file)


def without_blanks(numbered: Iterable[Numbered]) -> Iterator[Numbered]:
    return (each for each in numbered if each[1].strip())


def numbered_blocks(
    file: InputFile, start: int, block_rows: int, rows_of: Callable[[Iterator[Numbered]], Iterator[tuple[int, Row]]]
) -> Iterator[tuple[int, Sequence[int], Sequence[Row]]]:
    """(number of its first row, lines' numbers, rows) of each block, from row `start` on.

    `rows_of` makes rows, each with the number of its line, of the file's lines.
    """
    with file.reading(), file.open_text() as stream:
        rows = islice(rows_of(numbered_lines(stream)), start, None)
        while block := list(islice(rows, block_rows)):
            file.check_unchanged()
            numbers, found = zip(*block, strict=True)
            yield start, numbers, found
            start += len(block)


def object_block(
    start: int,
    lines: Sequence[bytes],
    types: pa.Schema | None,
    mapping: ColumnMapping,
    numbers: Sequence[int] | None = None,
) -> SourceBlock:
    """Lines of JSON objects as a block: the columns that are read as text, the others as `types` says or as they agree.

    `numbers` are those of the lines in their file, where there is one.
    """
    return found_block(start, [parsed_object(line) for line in lines], types, mapping, numbers)


def found_block(
    start: int,
    found: Sequence[Mapping[str, object] | Fault],
    types: pa.Schema | None,
    mapping: ColumnMapping,
    numbers: Sequence[int] | None = None,
) -> SourceBlock:
    """The same of rows that are read, each its values by the file's names, or why it is none."""
    faults = {position: row for position, row in enumerate(found) if isinstance(row, Fault)}
    objects = [{} if isinstance(row, Fault) else mapped(row, mapping) for row in found]
    return rows_block(start, objects, faults, types, numbers)


def rows_block(
    start: int,
    objects: Sequence[Mapping[str, object]],
    faults: dict[int, Fault],
    types: pa.Schema | None,
    numbers: Sequence[int] | None = None,
) -> SourceBlock:
    """Rows of values by their columns' names here as a block; `faults` are those of rows that are none, by position."""
    names = list(dict.fromkeys(name for values in objects for name in values))
    columns: dict[str, pa.Array] = {}
    fields = []
    for name in names if types is None else [*(n for n in names if n in READ), *(n for n in names if n in types.names)]:
        cells = [values.get(name) for values in objects]
        if name in READ:
            array, kind = pa.array(_read_cells(name, cells, faults), pa.string()), pa.field(name, pa.string())
        else:
            array, kind = _extra(name, cells, None if types is None else types.field(name))
        columns[name] = array
        fields.append(kind)
    if "prompt" not in columns:
        columns["prompt"] = pa.nulls(len(objects))  # of type null: no row of this block has the key
        fields.append(pa.field("prompt", pa.null()))
    schema = pa.schema([pa.field(f.name, columns[f.name].type, metadata=f.metadata) for f in fields])
    return SourceBlock(start, pa.table(list(columns.values()), schema=schema), faults, numbers)


def _not_text(rows: Sequence[Numbered]) -> dict[int, Fault]:
    """Lines with NUL bytes: those of another encoding, for certain or by accident."""
    return {row: Fault("prompt", "not text", shown(line)) for row, (_, line) in enumerate(rows) if b"\0" in line}


def numbered_lines(stream: pa.NativeFile) -> Iterator[Numbered]:
    """Numbered lines without their ends and without a byte order mark."""
    return enumerate(_lines(stream), start=1)


def _lines_digest(file: InputFile) -> str:
    """Of a file of lines, which was another one before a lone \\r ended a line."""
    last, num_returns = b"", 0
    with file.reading(), file.open_text() as stream:
        while chunk := stream.read(CHUNK_BYTES):
            num_returns += chunk.count(b"\r") - (last + chunk).count(b"\r\n")
            last = chunk[-1:]
    return file.text_digest("lone returns" if num_returns else "")


def _lines(stream: pa.NativeFile) -> Iterator[bytes]:
    rest = stream.read(CHUNK_BYTES).removeprefix(b"\xef\xbb\xbf")
    while chunk := stream.read(CHUNK_BYTES):
        # The last line may go on, and so may its end: \r and \n may come in two chunks.
        *whole, rest = rest.splitlines(keepends=True) or [b""]
        yield from (line.rstrip(b"\r\n") for line in whole)
        rest += chunk
    yield from rest.splitlines()


def without_blank_end(numbered: Iterable[tuple[int, AnyStr]]) -> Iterator[tuple[int, AnyStr]]:
    blank: list[tuple[int, AnyStr]] = []
    for number, line in numbered:
        blank.append((number, line))
        if line.strip():
            yield from blank
            blank.clear()


def mapped(values: Mapping[str, object], mapping: ColumnMapping) -> Mapping[str, object]:
    """An object's values by their columns' names here, which are valid Unicode."""
    if mapping.columns or "prompt" not in values:
        called = mapping.renamed(list(values))
        values = {called[name]: value for name, value in values.items()}
    return values if all(map(str.isascii, values)) else {_whole(name): value for name, value in values.items()}


def parsed_object(line: bytes) -> dict[str, object] | Fault:
    """The JSON object of a line, or why it is none."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Fault("", "not JSON", str(error))
    return values if isinstance(values, dict) else Fault("", "not a JSON object", shown(values))


def _read_cells(name: str, cells: Sequence[object], faults: dict[int, Fault]) -> list[str | None]:
    """Text as it is, numbers in their text form: they are read as those of a CSV file are."""
    read: list[str | None] = []
    for position, cell in enumerate(cells):
        kind = None
        if cell is not None and name in TEXT and not isinstance(cell, str):
            number = isinstance(cell, int) and not isinstance(cell, bool)
            kind = None if name == "prompt_id" and number else "not text"
        elif isinstance(cell, str) and _whole(cell) != cell:
            kind = "not valid Unicode"
        if kind:
            faults.setdefault(position, Fault(name, kind, shown(cell)))
        read.append(None if cell is None or kind else cell if isinstance(cell, str) else json.dumps(cell))
    return read


def _extra(name: str, cells: list[object], target: pa.Field | None) -> tuple[pa.Array, pa.Field]:
    """Cells as `target` says, or as they agree among themselves."""
    if target is None:
        try:
            array = pa.array(cells)
            if not _has_empty_struct(array.type):
                return array, pa.field(name, array.type)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError):
            pass
    elif not is_json_text(target):
        return _typed(cells, target.type), target
    text = [None if cell is None else _json_text(cell) for cell in cells]
    return pa.array(text, pa.string()), pa.field(name, pa.string(), metadata=JSON_TEXT)


def _typed(cells: list[object], kind: pa.DataType) -> pa.Array:
    if pa.types.is_floating(kind):  # Arrow refuses integers that a float cannot hold to the digit
        cells = [float(cell) if isinstance(cell, int) else cell for cell in cells]
    try:
        return pa.array(cells, kind)
    except pa.ArrowInvalid:  # so it does inside of lists and objects
        return pa.array(cells).cast(kind, safe=False)


def _json_text(cell: object) -> str:
    text = json.dumps(cell, ensure_ascii=False)
    return text if _whole(text) == text else json.dumps(cell)


def _has_empty_struct(kind: pa.DataType) -> bool:
    """Parquet has no struct without fields."""
    if pa.types.is_struct(kind) and kind.num_fields == 0:
        return True
    if pa.types.is_nested(kind):
        return any(_has_empty_struct(kind.field(index).type) for index in range(kind.num_fields))
    return False


def _whole(text: str) -> str:
    """The text without lone surrogates, which JSON can escape and UTF-8 cannot hold."""
    return text.encode(errors="replace").decode()
