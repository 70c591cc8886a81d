"""The check of one block's read columns: types, ranges, nulls; each fault is a row, a column and a kind.

It works on whole Arrow columns, and on single cells only where a whole column will not do.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from darkroom.domain.requests import ROW_COLUMNS
from darkroom.domain.settings import ROW_SETTINGS, Range
from darkroom.prompts.columns import TEXT
from darkroom.prompts.sources import Fault, shown

RANGES = {each.name: each.allowed for each in ROW_SETTINGS if each.allowed}


@dataclass(frozen=True)
class CheckedBlock:
    """A block's read columns, each whole and of its type, faulty cells null; and the first fault of each faulty row."""

    columns: dict[str, pa.Array]
    faults: dict[int, Fault]  # by position in the block

    def __len__(self) -> int:
        return len(self.columns["prompt"])


def check(table: pa.Table, faults: dict[int, Fault]) -> CheckedBlock:
    """Check the read columns of a block; `faults` are those that its reader found."""
    found = dict(faults)
    columns = {"prompt": _prompts(_column(table, "prompt"), found)}
    for name in ROW_COLUMNS:
        if name in table.column_names:
            read = _text if name in TEXT else _numbers
            columns[name] = read(name, _column(table, name), found)
    return CheckedBlock(columns, found)


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _prompts(array: pa.Array, faults: dict[int, Fault]) -> pa.Array:
    text = _text("prompt", array, faults)
    _mark(faults, pc.is_null(text), lambda row: Fault("prompt", "null"))
    blank = pc.equal(pc.utf8_trim_whitespace(text), "")
    _mark(faults, blank, lambda row: Fault("prompt", "empty"))
    return text


def _text(name: str, array: pa.Array, faults: dict[int, Fault]) -> pa.Array:
    try:
        text = array.cast(pa.string())
        text.validate(full=True)
    except pa.ArrowInvalid:
        text = _decoded(name, array, faults)
    if name == "prompt_id":  # an empty id is no id
        text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    return text


def _decoded(name: str, array: pa.Array, faults: dict[int, Fault]) -> pa.Array:
    """Cell by cell, for a column with bytes that are not UTF-8."""
    cells: list[str | None] = []
    for row, cell in enumerate(array.cast(pa.binary()).to_pylist()):
        try:
            cells.append(None if cell is None else cell.decode())
        except UnicodeDecodeError:
            cells.append(None)
            faults.setdefault(row, Fault(name, "not valid UTF-8", shown(cell)))
    return pa.array(cells, pa.string())


def _numbers(name: str, array: pa.Array, faults: dict[int, Fault]) -> pa.Array:
    kind = pa.float64() if ROW_COLUMNS[name] is float else pa.int64()
    array = _text(name, array, faults) if pt.is_binary(array.type) else array
    try:
        numbers = array.cast(kind)  # a safe cast: refuses fractions, overflow and words
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        numbers = _parsed(name, array, kind, faults)
    outside = ~_inside(RANGES[name], numbers)
    if outside.any():
        _mark(faults, pa.array(outside), lambda row: _number_fault(name, "out of range", array[row]))
        numbers = pc.if_else(pa.array(outside), pa.scalar(None, kind), numbers)
    return numbers


def _inside(allowed: Range, numbers: pa.Array) -> np.ndarray:
    """(N) bool: which cells are null or in range; NaN is in no range."""
    values = pc.fill_null(numbers, allowed.low).to_numpy(zero_copy_only=False)
    is_multiple = values % allowed.multiple == 0 if allowed.multiple > 1 else True
    inside: np.ndarray = (values >= allowed.low) & (values <= allowed.high) & is_multiple
    return inside


def _parsed(name: str, array: pa.Array, kind: pa.DataType, faults: dict[int, Fault]) -> pa.Array:
    """Cell by cell, for a column that does not convert as a whole."""
    cells: list[int | float | None] = []
    for row, cell in enumerate(array.to_pylist()):
        try:
            cells.append(None if cell is None or cell == "" else _number(cell, ROW_COLUMNS[name]))
        except _NotANumber as error:
            cells.append(None)
            faults.setdefault(row, _number_fault(name, str(error), array[row]))
    return pa.array(cells, kind)


def _number_fault(name: str, kind: str, cell: pa.Scalar) -> Fault:
    return Fault(name, kind, shown(cell.as_py()), str(RANGES[name]))


class _NotANumber(Exception):
    """The text is the kind of fault."""


def _number(cell: object, wanted: type) -> int | float:
    try:
        if wanted is int and isinstance(cell, str) and cell.strip().lstrip("+-").isdigit():
            number: int | float = int(cell)  # float would lose digits
        else:
            number = cell if isinstance(cell, int) else float(str(cell))
    except ValueError as error:
        raise _NotANumber("not a number") from error
    if wanted is float:
        return float(number)
    if not math.isfinite(number) or number != int(number):
        raise _NotANumber("not a whole number")
    if not -(2**63) <= number < 2**63:
        raise _NotANumber("out of range")
    return int(number)


def _mark(faults: dict[int, Fault], mask: pa.Array, fault: Callable[[int], Fault]) -> None:
    """Where the mask is true, and not where it is null."""
    for row in pc.indices_nonzero(mask).to_pylist():
        if row not in faults:
            faults[row] = fault(row)
