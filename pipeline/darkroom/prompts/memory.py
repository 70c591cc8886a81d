"""Prompts in memory as a source of rows: lists, iterators, DataFrames and Arrow tables.

Rows of Python values become lines of JSON, and so are read, checked and typed as those of a JSON lines file are.
"""

import hashlib
import io
import json
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePath
from typing import Any, TypeGuard

import pyarrow as pa

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.prompts.columns import ColumnMapping
from darkroom.prompts.lines import object_block, without_blank_end
from darkroom.prompts.sources import Source, SourceBlock, TableSource, shown

CHUNK_ROWS = 8192
IN_MEMORY_BYTES = 64 << 20  # of JSON, beyond which rows wait on a disk
_MISSING = ("NAType", "NaTType")  # of pandas, which need not be installed
_NEEDED = "needed a list or an iterator of texts or dicts, a pandas DataFrame or an Arrow table"


def memory_source(data: object, name: str, mapping: ColumnMapping) -> Source:
    """A source of what a caller holds; an iterator is read to its end at once, to a disk where it is large. One column
    of a table, as pandas and Arrow have it, is read as a list of its values; a set is refused, as it has no order.

    A column that holds what no row can is refused by its name and row, as a DarkroomError.
    """
    frame = getattr(sys.modules.get("pandas"), "DataFrame", None)  # whoever has a DataFrame has imported all of it
    if frame and isinstance(data, frame):
        return TableSource(name, _frame_table(data, name), mapping)
    if isinstance(data, pa.RecordBatch):
        data = pa.Table.from_batches([data])
    if isinstance(data, pa.Array | pa.ChunkedArray):
        data = data.to_pylist()
    series = getattr(sys.modules.get("pandas"), "Series", None)
    if hasattr(data, "__arrow_c_stream__") and not (series and isinstance(data, series)):
        return TableSource(name, _arrow_table(data, name), mapping)
    if isinstance(data, AbstractSet):
        raise DarkroomError(f"{name}: a {type(data).__name__} has no order, and rows need one; give a sorted list")
    if isinstance(data, Mapping | bytes) or not _is_iterable(data):
        raise DarkroomError(f"{name}: {type(data).__name__} is no dataset of prompts; {_NEEDED}, or a path")
    if isinstance(data, io.TextIOBase):
        data = _lines_of(data)
    return RowsSource(name, Spool(_json_lines(data, name)), mapping)


def memory_warnings(data: object, name: str) -> Iterator[str]:
    """What of the caller's data is left out: the index of a DataFrame that has neither a name nor plain positions."""
    pandas = sys.modules.get("pandas")
    if pandas and isinstance(data, pandas.DataFrame):
        index = data.index
        if (
            len(index)
            and all(level is None for level in index.names)
            and not pandas.api.types.is_integer_dtype(index.dtype)
        ):
            yield (
                f"{name}: the DataFrame's index ({shown(index[0])}, ...) has no name, and is not carried; give it one, "
                "as by frame.index.name = 'id'"
            )


@dataclass(frozen=True)
class RowsSource:
    """Rows of Python values."""

    name: str
    spool: "Spool"
    mapping: ColumnMapping = field(default_factory=ColumnMapping)

    def schema(self) -> None:
        """Known once every row is read."""

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        lines = self.spool.lines(start)
        while rows := list(islice(lines, block_rows)):
            yield object_block(start, rows, types, self.mapping)
            start += len(rows)

    def check_unchanged(self) -> None:
        """What was read from a caller's list is not read again."""

    def content_digest(self) -> str:
        return digest("rows", self.spool.sha256, length=64)


class Spool:
    """Lines in chunks, in memory or in a file without a name, of which nothing is left however the process ends."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - lives as long as this
        self._lock = threading.Lock()  # one place in the file, and several readers
        self._sizes: list[int] = []  # bytes of each chunk of CHUNK_ROWS lines
        sha = hashlib.sha256()
        while chunk := list(islice(lines, CHUNK_ROWS)):
            sha.update(b"\n".join(chunk) + b"\n")  # of rows as they were given, by which runs know them
            self._write(b"\n".join(map(_without_nan, chunk)))
        self.sha256 = sha.hexdigest()

    def lines(self, start: int) -> Iterator[bytes]:
        first = start // CHUNK_ROWS
        place = sum(self._sizes[:first])
        for number, size in enumerate(self._sizes[first:]):
            with self._lock:
                self._file.seek(place)
                data = self._file.read(size)
            yield from data.split(b"\n")[0 if number else start % CHUNK_ROWS :]
            place += size

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise DarkroomError(
                f"{tempfile.gettempdir()}: no room for the prompts of an iterator ({error.strerror}; "
                f"{sum(self._sizes) / 1e6:.0f} MB so far); set TMPDIR to a folder on a larger disk"
            ) from error
        self._sizes.append(len(data))


def _json_lines(rows: Iterable[object], name: str) -> Iterator[bytes]:
    for number, row in enumerate(rows):
        if isinstance(row, str):
            row = {"prompt": row}
        elif _is_missing(row):
            row = {"prompt": None}
        if not isinstance(row, Mapping):
            raise DarkroomError(f"{name}: row {number} is {shown(row)}; needed a text, or a dict with a 'prompt'")
        try:
            _check_names(row, f"{name}: row {number}")
            yield json.dumps(row if isinstance(row, dict) else dict(row), default=_plain).encode()
        except DarkroomError:
            raise
        except (TypeError, ValueError, RecursionError) as error:
            raise _refused(row, number, name) from error


def _lines_of(file: io.TextIOBase) -> Iterator[str]:
    """Prompts of an open file of text, one a line, as those of a .txt file."""
    return (line.rstrip("\r\n") for _, line in without_blank_end(enumerate(file)))


def _check_names(value: object, where: str) -> None:
    """Refuse names that JSON makes equal, as its names are texts: of 1 and "1" only the last would be carried.

    Raises TypeError for a name that JSON cannot hold.
    """
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            texts: dict[str, object] = {}
            for name in value:
                [text] = json.loads(json.dumps({name: None}))
                if text in texts:
                    raise DarkroomError(
                        f"{where}: {texts[text]!r} and {name!r} are both named {text!r} in JSON; rename one of them"
                    )
                texts[text] = name
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            _check_names(each, where)


def _without_nan(line: bytes) -> bytes:
    """NaN in a row's cell says that nothing is there, as in a DataFrame, whose missing texts are NaN as well."""
    if b"NaN" not in line:
        return line
    row = json.loads(line)
    return json.dumps({name: None if value != value else value for name, value in row.items()}).encode()


def _is_iterable(data: object) -> TypeGuard[Iterable[object]]:
    """Whether it has values: an array of numpy without a dimension has the method and none."""
    try:
        return isinstance(data, Iterable) and iter(data) is not None
    except TypeError:
        return False


def _is_missing(value: Any) -> bool:
    """Whether it says that nothing is there, as Python, pandas and numpy do: None, NA, NaT, NaN."""
    if hasattr(value, "tolist") and not hasattr(value, "__len__"):  # a number or a time of numpy
        value = value.tolist()
    return value is None or type(value).__name__ in _MISSING or (isinstance(value, float) and value != value)


def _plain(value: Any) -> object:
    """Values of other libraries as Python's own. Raises TypeError for one that has no equal there."""
    if type(value).__name__ in _MISSING:
        return None
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # arrays and numbers of numpy
        return value.tolist()
    raise TypeError(type(value).__name__)


def _refused(row: Mapping[str, object], number: int, name: str) -> DarkroomError:
    for column, value in row.items():
        try:
            json.dumps({column: value}, default=_plain)
        except (TypeError, ValueError, RecursionError):
            what = (
                f"column {column!r} is {type(value).__name__} {shown(value)}"
                if isinstance(column, str)
                else (f"column {column!r} has a name that is no text")
            )
            return DarkroomError(
                f"{name}: row {number}: {what}; needed text, numbers, lists or dicts of these; a DataFrame or an Arrow "
                "table may hold other types"
            )
    return DarkroomError(f"{name}: row {number} cannot be written as JSON: {shown(row)}")


def _frame_table(frame: Any, name: str) -> pa.Table:
    """Columns of a pandas DataFrame; an index that has a name is a column too, and any other says positions."""
    if any(level is not None for level in frame.index.names):
        frame = _with_index(frame, name)
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise _mixed_column(frame, name) or DarkroomError(f"{name}: no usable DataFrame ({error})") from error
    return table.replace_schema_metadata(None)


def _with_index(frame: Any, name: str) -> Any:
    try:
        return frame.reset_index()
    except ValueError as error:
        raise DarkroomError(
            f"{name}: the DataFrame's index and columns have one name twice ({error}); rename one of them, or leave "
            "the index out as by frame.reset_index(drop=True)"
        ) from error


def _mixed_column(frame: Any, name: str) -> DarkroomError | None:
    """The first column that is of no one type, and the first row that does not fit those before it."""
    for place, column in enumerate(frame.columns):
        cells = frame.iloc[:, place]
        if _has_type(cells):
            continue
        low, high = 0, len(cells)  # cells up to `low` are of one type, those up to `high` are not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _has_type(cells.iloc[:middle]) else (low, middle)
        if high == 1:
            return DarkroomError(
                f"{name}: column {column!r} is {cells.dtype}, which no Arrow type is; convert or drop it"
            )
        value = cells.iloc[high - 1]
        return DarkroomError(
            f"{name}: row {high - 1}: column {column!r} is {type(value).__name__} {shown(value)}, and of another type "
            "in the rows before it; make it one type, or drop the column"
        )
    return None


def _has_type(cells: Any) -> bool:
    try:
        pa.Array.from_pandas(cells)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return False
    return True


def _arrow_table(data: Any, name: str) -> pa.Table:
    try:
        return data if isinstance(data, pa.Table) else pa.RecordBatchReader.from_stream(data).read_all()
    except (pa.ArrowException, ValueError, TypeError, OSError) as error:
        raise DarkroomError(f"{name}: {type(data).__name__} cannot be read as an Arrow table ({error})") from error
