"""Text sources: CSV and TSV, JSON lines, and one prompt a line.

CSV has no types, so its extra columns are carried as text: 007 stays 007, and no guess made on the first rows is wrong
about a later one. Lines end in \\n or \\r\\n and nowhere else, whatever Unicode thinks of U+2028.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import pyarrow as pa
from pyarrow import csv

from pipeline.prompts.checks import Fault, shown
from pipeline.prompts.columns import READ, TEXT, check_names, find_prompt
from pipeline.prompts.files import PromptFile
from pipeline.prompts.raw import RawBlock

_CSV_BLOCK_BYTES = 2 << 20  # also the longest row; Arrow reads some thirty blocks ahead


@dataclass(frozen=True)
class CsvSource:
    """Quotes and newlines in cells as in RFC 4180, for tabs too. An empty cell is null; a quoted one is not."""

    file: PromptFile
    delimiter: str

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> pa.Schema:
        return pa.schema([(_canonical(name, self._prompt), pa.string()) for name in self._names])

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[RawBlock]:
        names = [name for name in self._names if _canonical(name, self._prompt) in READ or types is not None]
        first = 0
        with self.file.reading(), self._open(names) as reader:
            for batch in reader:
                self.file.check_unchanged()
                table = pa.Table.from_batches([batch]).rename_columns(
                    [_canonical(name, self._prompt) for name in names]
                )
                for low in range(max(start - first, 0), len(table), block_rows):
                    yield RawBlock(first + low, table.slice(low, block_rows))
                first += len(table)

    def check_unchanged(self) -> None:
        self.file.check_unchanged()

    def content_digest(self) -> str:
        return self.file.content_digest()

    @cached_property
    def _names(self) -> list[str]:
        with self.file.reading(), self._open([]) as reader:
            names = reader.schema.names
        check_names(self.name, names)
        return names

    @property
    def _prompt(self) -> str | None:
        return find_prompt(self._names)

    def _open(self, names: list[str]) -> csv.CSVStreamingReader:
        return csv.open_csv(
            self.file.open_stream(),
            csv.ReadOptions(block_size=_CSV_BLOCK_BYTES, use_threads=False),  # row numbers in errors need one thread
            csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
            csv.ConvertOptions(
                # Bytes, so that text that is not UTF-8 is found row by row.
                column_types={n: pa.binary() if _canonical(n, self._prompt) in TEXT else pa.string() for n in names},
                include_columns=names,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )


@dataclass(frozen=True)
class LinesSource:
    """One prompt a line. Blank lines are empty prompts, save those at the end of the file."""

    file: PromptFile

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> pa.Schema:
        return pa.schema([("prompt", pa.string())])

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[RawBlock]:
        with self.file.reading(), self.file.open_stream() as stream:
            numbered = islice(_without_blank_end(lines(stream)), start, None)
            while rows := list(islice(numbered, block_rows)):
                self.file.check_unchanged()
                cells, faults = _decoded([line for _, line in rows])
                yield RawBlock(rows[0][0] - 1, pa.table({"prompt": cells}), faults, [number for number, _ in rows])

    def check_unchanged(self) -> None:
        self.file.check_unchanged()

    def content_digest(self) -> str:
        return self.file.content_digest()


def lines(stream: pa.NativeFile) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their ends and without a byte order mark."""
    for number, line in enumerate(io.BufferedReader(stream, 1 << 20), start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def _without_blank_end(numbered: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    blank: list[tuple[int, bytes]] = []
    for number, line in numbered:
        blank.append((number, line))
        if line.strip():
            yield from blank
            blank.clear()


def _decoded(cells: list[bytes]) -> tuple[pa.Array, dict[int, Fault]]:
    try:
        return pa.array([cell.decode() for cell in cells], pa.string()), {}
    except UnicodeDecodeError:
        faults = {
            row: Fault("prompt", "not valid UTF-8", shown(cell)) for row, cell in enumerate(cells) if not _utf8(cell)
        }
        kept = [None if row in faults else cell.decode() for row, cell in enumerate(cells)]
        return pa.array(kept, pa.string()), faults


def _utf8(cell: bytes) -> bool:
    try:
        cell.decode()
    except UnicodeDecodeError:
        return False
    return True


def _canonical(name: str, prompt: str | None) -> str:
    return "prompt" if name == prompt else name
