"""CSV and TSV files.

They have no types, so extra columns are carried as text: 007 stays 007, and no guess made on the first rows is wrong
about a later one. All cells are read as bytes, so that text that is not UTF-8 is found row by row.

Whether a tab-separated file quotes its cells, as spreadsheets do, or holds quotes as they are, is told by the whole
file, since one cell may be either: `"Hello"` is a quoted Hello, or Hello in quotes.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import pyarrow as pa
from pyarrow import csv

from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import PICTURES
from darkroom.prompts.columns import READ, ColumnMapping
from darkroom.prompts.sources import Fault, SourceBlock, shown
from darkroom.storage.input_files import InputFile

BLOCK_BYTES = 2 << 20  # also the longest row; Arrow prefetches some thirty blocks
CHUNK_BYTES = 4 << 20  # in which quotes are searched for
_CELL_BYTES = 2 << 20  # the most that a quoted cell has
_LINE_END = re.compile(rb"\r\n|\r|\n")
_CLOSED_QUOTE = re.compile(rb'"(?:[^"]|"")*+"')
_QUOTED_CELL = re.compile(rb'"((?:[^"]|"")*+)"(?=[\t\r\n]|\Z)')

Quoting = Literal["absent", "quoted", "literal"]

Ragged = deque[csv.InvalidRow]  # rows with more or fewer cells than the header, in order


@dataclass(frozen=True)
class DelimitedSource:
    """Quotes and newlines in cells as in RFC 4180; tab-separated files that were written without quoting have none.

    An empty cell is null; a quoted one is not. A row of another length than the header is a faulty row.
    """

    file: InputFile
    delimiter: str
    mapping: ColumnMapping = field(default_factory=ColumnMapping)

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> pa.Schema:
        return pa.schema([(name, pa.string()) for name in self._renamed.values()])

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        called = {column: name for column, name in self._renamed.items() if name in READ or types is not None}
        first = 0
        for table, faults in self._tables(list(called)):
            self.file.check_unchanged()
            table = _with_texts(table.rename_columns(list(called.values())))
            for low in range(max(start - first, 0), len(table), block_rows):
                stop = min(low + block_rows, len(table))
                here = {row - low: fault for row, fault in faults.items() if low <= row < stop}
                yield SourceBlock(first + low, table.slice(low, block_rows), here)
            first += len(table)

    def check_unchanged(self) -> None:
        self.file.check_unchanged()

    def content_digest(self) -> str:
        return self.file.text_digest("literal quotes" if self._quoting == "literal" else "")

    @cached_property
    def _renamed(self) -> dict[str, str]:
        """Column of the file -> its name here."""
        with self.file.reading(), self._open([], deque()) as reader:
            names = reader.schema.names
        self.mapping.check_header(self.name, names)
        return self.mapping.renamed(names)

    @cached_property
    def _quoting(self) -> Quoting:
        if self.delimiter != "\t":
            return "quoted"
        with self.file.reading():
            return _quoting_of(self.file.open_text())

    def _tables(self, names: list[str]) -> Iterator[tuple[pa.Table, dict[int, Fault]]]:
        """The rows batch by batch, ragged ones in their places, and the fault of each of those."""
        ragged: Ragged = deque()
        first = 0
        with self.file.reading(), self._open(names, ragged) as reader:
            empty = pa.schema([(name, pa.binary()) for name in names]).empty_table()
            for batch in reader:
                self._check_closed(batch, ragged)
                table, faults = _with_ragged(pa.Table.from_batches([batch]), first, ragged)
                yield table, faults
                first += len(table)
            self._check_closed(empty, ragged)
            yield _with_ragged(empty, first, ragged)

    def _check_closed(self, rows: pa.RecordBatch | pa.Table, ragged: Ragged) -> None:
        """Refuse a file whose last row, ragged or not, goes on to its end since a quote is never closed."""
        last = rows.slice(len(rows) - 1).to_pylist() if len(rows) else []
        cells = [cell for row in last for cell in row.values() if cell] + [row.text.encode() for row in ragged]
        if any(b"\n" in cell or b"\r" in cell for cell in cells) and self._quoting == "quoted" and not self._is_closed:
            raise DarkroomError(f"{self.name}: a quote that begins a cell is never closed; close or remove it")

    @cached_property
    def _is_closed(self) -> bool:
        return _has_closed_quotes(self.file.open_text(), self.delimiter)

    def _open(self, names: list[str], ragged: Ragged) -> csv.CSVStreamingReader:
        def collect(row: csv.InvalidRow) -> str:
            ragged.append(row)
            return "skip"

        quoting = (
            {"newlines_in_values": True} if self._quoting == "quoted" else {"quote_char": False, "double_quote": False}
        )
        return csv.open_csv(
            self.file.open_text(),
            csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),  # row numbers need one thread
            csv.ParseOptions(delimiter=self.delimiter, invalid_row_handler=collect, **quoting),
            csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.binary()),
                include_columns=names,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )


def _with_texts(table: pa.Table) -> pa.Table:
    """Cells that name pictures as text, which may be no UTF-8: bytes would be taken for the pictures' files."""
    for place, name in enumerate(table.column_names):
        if name in PICTURES:
            texts = pa.chunked_array([chunk.view(pa.string()) for chunk in table[name].chunks], pa.string())
            table = table.set_column(place, name, texts)
    return table


def _with_ragged(table: pa.Table, first: int, ragged: Ragged) -> tuple[pa.Table, dict[int, Fault]]:
    """A batch that begins with row `first` of the file, with null rows where ragged ones were left out of it."""
    faults: dict[int, Fault] = {}
    while ragged and ragged[0].number - 2 - first <= len(table) + len(faults):  # the header is row 1
        row = ragged.popleft()
        cells = f"{row.actual_columns} cell{'s' if row.actual_columns > 1 else ''}"
        kind = f"not of the header's {row.expected_columns} columns"
        faults[row.number - 2 - first] = Fault("", kind, f"{cells}: {shown(row.text)}")
    if faults:
        places = iter(range(len(table)))
        size = len(table) + len(faults)
        table = table.take(pa.array([None if row in faults else next(places) for row in range(size)], pa.int64()))
    return table, faults


def _quoting_of(stream: pa.NativeFile) -> Quoting:
    """Absent where no cell begins with a quote.

    Quoted where all that do are quoted well, and one of them is the header's or needs its quotes; else literal.
    """
    is_seen, is_needed, num_tabs, header_end = False, False, 0, -1
    text = b"\n"  # cells begin behind a separator
    for chunk, is_last in _chunks(stream):
        text += chunk
        if header_end < 0:
            header_end = len(header := _LINE_END.split(text[1:], 1)[0])
            num_tabs = header.count(b"\t")
        place = 0
        while (opening := _opening(text, place, b"\t\r\n")) > 0:
            cell = _QUOTED_CELL.match(text, opening)
            is_whole = is_last or (cell is not None and cell.end() < len(text))
            if not is_whole and len(text) - opening < _CELL_BYTES:
                break
            if cell is None:
                return "literal"
            is_seen = True
            is_needed = is_needed or opening <= header_end or _needs_quotes(cell[1], num_tabs)
            place = cell.end()
        text, header_end = text[opening - 1 if opening > 0 else max(place, len(text) - 1) :], 0
    return "quoted" if is_needed else "literal" if is_seen else "absent"


def _has_closed_quotes(stream: pa.NativeFile, delimiter: str) -> bool:
    """Whether each quote that begins a cell has one that ends it: otherwise the last cell has taken what follows."""
    text, opening = b"\n", -1
    for chunk, is_last in _chunks(stream):
        text += chunk
        place = 0
        while (opening := _opening(text, place, delimiter.encode() + b"\r\n")) > 0:
            cell = _CLOSED_QUOTE.match(text, opening)
            if cell is None or (cell.end() == len(text) and not is_last):
                break
            place = cell.end()
        text = text[opening - 1 if opening > 0 else max(place, len(text) - 1) :]
    return opening < 0


def _opening(text: bytes, place: int, separators: bytes) -> int:
    """Where the next quote behind a separator is; -1 where none is."""
    while (place := text.find(b'"', place)) > 0 and text[place - 1] not in separators:
        place += 1
    return place


def _needs_quotes(cell: bytes, num_tabs: int) -> bool:
    """Whether a cell makes no sense without its quotes: it holds doubled ones, or tabs and lines that fit no table.

    Two cells that begin and end with a quote, rows apart, look like one; without the quotes they are whole rows.
    """
    if b'""' in cell:
        return True
    first, *others = [line.count(b"\t") for line in _LINE_END.split(cell)]
    if not others:
        return first > 0
    *between, last = others
    return num_tabs == 0 or first + last != num_tabs or any(tabs != num_tabs for tabs in between)


def _chunks(stream: pa.NativeFile) -> Iterator[tuple[bytes, bool]]:
    """Chunks, and whether each is the last."""
    with stream:
        chunk = stream.read(CHUNK_BYTES).removeprefix(b"\xef\xbb\xbf")
        while chunk:
            following = stream.read(CHUNK_BYTES)
            yield chunk, not following
            chunk = following
