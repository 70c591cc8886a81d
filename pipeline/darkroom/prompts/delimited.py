"""CSV and TSV files.

They have no types, so extra columns are carried as text: 007 stays 007, and no guess made on the first rows is wrong
about a later one. All cells are read as bytes, so that text that is not UTF-8 is found row by row.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
from pyarrow import csv

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.columns import READ, Reading
from darkroom.prompts.faults import Fault, shown
from darkroom.prompts.files import PromptFile
from darkroom.prompts.quoting import Quoting, is_closed, quoting_of
from darkroom.prompts.raw import RawBlock

_BLOCK_BYTES = 2 << 20  # also the longest row; Arrow reads some thirty blocks ahead

Ragged = deque[csv.InvalidRow]  # rows with more or fewer cells than the header, in order


@dataclass(frozen=True)
class DelimitedSource:
    """Quotes and newlines in cells as in RFC 4180; tab-separated files that were written without quoting have none.

    An empty cell is null; a quoted one is not. A row of another length than the header is a faulty row.
    """

    file: PromptFile
    delimiter: str
    reading: Reading = field(default_factory=Reading)

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> pa.Schema:
        return pa.schema([(name, pa.string()) for name in self._called.values()])

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[RawBlock]:
        called = {theirs: ours for theirs, ours in self._called.items() if ours in READ or types is not None}
        first = 0
        for table, faults in self._tables(list(called)):
            self.file.check_unchanged()
            table = table.rename_columns(list(called.values()))
            for low in range(max(start - first, 0), len(table), block_rows):
                stop = min(low + block_rows, len(table))
                here = {row - low: fault for row, fault in faults.items() if low <= row < stop}
                yield RawBlock(first + low, table.slice(low, block_rows), here)
            first += len(table)

    def check_unchanged(self) -> None:
        self.file.check_unchanged()

    def content_digest(self) -> str:
        return self.file.text_digest("literal quotes" if self._quoting == "literal" else "")

    @cached_property
    def _called(self) -> dict[str, str]:
        """Column of the file -> our name of it."""
        with self.file.reading(), self._open([], deque()) as reader:
            names = reader.schema.names
        self.reading.check(self.name, names)
        return self.reading.called(names)

    @cached_property
    def _quoting(self) -> Quoting:
        if self.delimiter != "\t":
            return "quoted"
        with self.file.reading():
            return quoting_of(self.file.open_stream())

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
        return is_closed(self.file.open_stream(), self.delimiter)

    def _open(self, names: list[str], ragged: Ragged) -> csv.CSVStreamingReader:
        def put_aside(row: csv.InvalidRow) -> str:
            ragged.append(row)
            return "skip"

        quoting = (
            {"newlines_in_values": True} if self._quoting == "quoted" else {"quote_char": False, "double_quote": False}
        )
        return csv.open_csv(
            self.file.open_stream(),
            csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),  # row numbers need one thread
            csv.ParseOptions(delimiter=self.delimiter, invalid_row_handler=put_aside, **quoting),
            csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.binary()),
                include_columns=names,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )


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
