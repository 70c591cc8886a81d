"""JSON lines: one object a line, read with its own parser so that a bad line is one row with its number.

An extra column keeps an Arrow type, nested too, where its values agree on one; where they do not, it is JSON text.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import pyarrow as pa

from darkroom.domain.requests import ROW_COLUMNS
from darkroom.prompts.carried import JSON_TEXT, is_json_text
from darkroom.prompts.columns import READ, TEXT, Reading
from darkroom.prompts.faults import Fault, shown
from darkroom.prompts.files import PromptFile
from darkroom.prompts.raw import RawBlock
from darkroom.prompts.texts import lines, lines_digest


@dataclass(frozen=True)
class JsonlSource:
    """Blank lines are skipped; a line that is no object is a faulty row."""

    file: PromptFile
    reading: Reading = field(default_factory=Reading)

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> None:
        """Known once every row is read."""

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[RawBlock]:
        with self.file.reading(), self.file.open_stream() as stream:
            written = islice(((number, line) for number, line in lines(stream) if line.strip()), start, None)
            while rows := list(islice(written, block_rows)):
                self.file.check_unchanged()
                yield _block(start, rows, types, self.reading)
                start += len(rows)

    def check_unchanged(self) -> None:
        self.file.check_unchanged()

    def content_digest(self) -> str:
        return lines_digest(self.file)


def _block(start: int, rows: Sequence[tuple[int, bytes]], types: pa.Schema | None, reading: Reading) -> RawBlock:
    faults: dict[int, Fault] = {}
    objects = [_object(position, line, faults, reading) for position, (_, line) in enumerate(rows)]
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
        columns["prompt"] = pa.nulls(len(rows))  # of type null: no row of this block has the key
        fields.append(pa.field("prompt", pa.null()))
    schema = pa.schema([pa.field(f.name, columns[f.name].type, metadata=f.metadata) for f in fields])
    return RawBlock(start, pa.table(list(columns.values()), schema=schema), faults, [number for number, _ in rows])


def _object(position: int, line: bytes, faults: dict[int, Fault], reading: Reading) -> dict[str, object]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        faults[position] = Fault("", "not JSON", str(error))
        return {}
    if not isinstance(values, dict):
        faults[position] = Fault("", "not a JSON object", shown(values))
        return {}
    if reading.given or "prompt" not in values:
        called = reading.called(list(values))
        values = {called[name]: value for name, value in values.items()}
    return values if line.isascii() and b"\\u" not in line else {_whole(name): value for name, value in values.items()}


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
    assert name == "prompt" or name in ROW_COLUMNS
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
