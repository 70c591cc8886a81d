"""The check of one block's read columns: types, ranges, nulls; each fault is a row, a column and a kind.

It works on whole Arrow columns, and on single cells only where a whole column will not do.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from darkroom.domain.records import ROW_COLUMNS
from darkroom.domain.settings import SETTINGS, Range, Setting
from darkroom.prompts.columns import holds_files
from darkroom.prompts.sources import NOT_A_CHOICE, OUT_OF_RANGE, Fault, shown
from darkroom.storage.named_files import held_name


@dataclass(frozen=True)
class CheckedBlock:
    """A block's read columns, each whole and of its type, faulty cells null; and the first fault of each faulty row."""

    columns: dict[str, pa.Array]
    faults: dict[int, Fault]  # by position in the block
    files: dict[str, list[bytes | None]] = field(default_factory=dict)  # of columns that hold pictures' files

    def __len__(self) -> int:
        return len(self.columns["prompt"])


def check(table: pa.Table, faults: dict[int, Fault]) -> CheckedBlock:
    """Check the read columns of a block; `faults` are those that its reader found."""
    found = dict(faults)
    columns = {"prompt": _prompts(_column(table, "prompt"), found)}
    files: dict[str, list[bytes | None]] = {}
    for name in ROW_COLUMNS:
        if name in table.column_names:
            cells = _column(table, name)
            if holds_files(name, cells.type):
                columns[name], files[name] = _files(cells)
                continue
            columns[name] = read_setting(SETTINGS[name], cells, found) if name in SETTINGS else _ids(cells, found)
    return CheckedBlock(columns, found, files)


def _files(cells: pa.Array) -> tuple[pa.Array, list[bytes | None]]:
    """Names of files that cells hold, by their digests, and the files; a cell without one may have a path."""
    is_pair = pt.is_struct(cells.type)
    data = (pc.struct_field(cells, "bytes") if is_pair else cells).to_pylist()
    has_path = is_pair and cells.type.get_field_index("path") >= 0
    paths = pc.struct_field(cells, "path").to_pylist() if has_path else [None] * len(data)
    names = [path if file is None else held_name(file) for file, path in zip(data, paths, strict=True)]
    return pa.array(names, pa.string()), data


def read_setting(setting: Setting, cells: pa.Array, faults: dict[int, Fault]) -> pa.Array:
    """A column of a setting's values, of the setting's kind; what is none of them is null, and its row gets a fault."""
    return _READERS[setting.kind](setting, cells, faults)


def read_values(table: pa.Table, name: str) -> pa.Array:
    """A column that is read as the values that it holds, whatever is allowed; null where they are of another kind."""
    setting, cells = SETTINGS.get(name), _column(table, name)
    if holds_files(name, cells.type):
        return _files(cells)[0]
    if setting is None or setting.kind is str:
        return _text(name, cells, {})
    return (
        _booleans(setting, cells, {}) if setting.kind is bool else _as_numbers(setting, _plain(setting, cells, {}), {})
    )


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


def _ids(array: pa.Array, faults: dict[int, Fault]) -> pa.Array:
    return _without_empty(_text("prompt_id", array, faults))


def _text(name: str, array: pa.Array, faults: dict[int, Fault]) -> pa.Array:
    try:
        text = array.cast(pa.string())
        text.validate(full=True)
    except pa.ArrowInvalid:
        text = _decoded(name, array, faults)
    return text


def _without_empty(text: pa.Array) -> pa.Array:
    """Null where nothing is said."""
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


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


def _texts(setting: Setting, array: pa.Array, faults: dict[int, Fault]) -> pa.Array:
    text = _text(setting.name, array, faults)
    if not setting.choices:
        return _without_empty(text) if setting.from_model else text
    return _chosen(_without_empty(text), setting.choices, Fault(setting.name, NOT_A_CHOICE), faults)


def _chosen(text: pa.Array, choices: Sequence[str], fault: Fault, faults: dict[int, Fault]) -> pa.Array:
    """The texts that are one of these; any other is null, and its row gets `fault` with the value."""
    is_other = pc.and_(pc.is_valid(text), pc.invert(pc.is_in(text, pa.array(choices, pa.string()))))
    needed = ", ".join(choices)
    _mark(faults, is_other, lambda row: replace(fault, value=shown(text[row].as_py()), needed=needed))
    return pc.if_else(is_other, pa.scalar(None, pa.string()), text)


def _booleans(setting: Setting, array: pa.Array, faults: dict[int, Fault]) -> pa.Array:
    """True and false as such, or as text in any case: programs write True, TRUE and true."""
    if pt.is_boolean(array.type) or pt.is_null(array.type):
        return array.cast(pa.bool_())
    text = pc.utf8_lower(_without_empty(_text(setting.name, array, faults)))
    return pc.equal(_chosen(text, ("true", "false"), Fault(setting.name, NOT_A_CHOICE), faults), "true")


def _numbers(setting: Setting, array: pa.Array, faults: dict[int, Fault]) -> pa.Array:
    array = _plain(setting, array, faults)
    numbers = _as_numbers(setting, array, faults)
    if setting.allowed is None:
        return numbers
    outside = ~_inside(setting.allowed, numbers)
    if outside.any():
        _mark(faults, pa.array(outside), lambda row: _number_fault(setting, OUT_OF_RANGE, array[row]))
        numbers = pc.if_else(pa.array(outside), pa.scalar(None, numbers.type), numbers)
    return numbers


def _plain(setting: Setting, array: pa.Array, faults: dict[int, Fault]) -> pa.Array:
    """Bytes as text."""
    return _text(setting.name, array, faults) if pt.is_binary(array.type) else array


def _as_numbers(setting: Setting, array: pa.Array, faults: dict[int, Fault]) -> pa.Array:
    kind = pa.float64() if setting.kind is float else pa.int64()
    try:
        return array.cast(kind)  # a safe cast: refuses fractions, overflow and words
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _parsed(setting, array, kind, faults)


def _inside(allowed: Range, numbers: pa.Array) -> np.ndarray:
    """(N) bool: which cells are null or in range; NaN is in no range."""
    values = pc.fill_null(numbers, allowed.low).to_numpy(zero_copy_only=False)
    is_multiple = values % allowed.multiple == 0 if allowed.multiple > 1 else True
    inside: np.ndarray = (values >= allowed.low) & (values <= allowed.high) & is_multiple
    return inside


def _parsed(setting: Setting, array: pa.Array, kind: pa.DataType, faults: dict[int, Fault]) -> pa.Array:
    """Cell by cell, for a column that does not convert as a whole."""
    cells: list[int | float | None] = []
    for row, cell in enumerate(array.to_pylist()):
        try:
            cells.append(None if cell is None or cell == "" else _number(cell, setting.kind))
        except _NotANumber as error:
            cells.append(None)
            faults.setdefault(row, _number_fault(setting, str(error), array[row]))
    return pa.array(cells, kind)


def _number_fault(setting: Setting, kind: str, cell: pa.Scalar) -> Fault:
    return Fault(setting.name, kind, shown(cell.as_py()), str(setting.allowed or ""))


class _NotANumber(Exception):
    """The text is the kind of fault."""


def _number(cell: Any, wanted: type) -> int | float:
    number = _spelled(cell.strip(" \t"), wanted) if isinstance(cell, str) else cell
    if wanted is float:
        return float(number)
    if not math.isfinite(number):
        raise _NotANumber("not a whole number")
    if not -(2**63) <= number < 2**63:
        raise _NotANumber(OUT_OF_RANGE)
    if number != int(number):
        raise _NotANumber("not a whole number")
    return int(number)


def _spelled(text: str, wanted: type) -> int | float | Decimal:
    """A text as the number that Arrow reads it as, so that a cell means the same whatever others its column has.
    Python's own readers take more (`1_0`, other scripts' digits), and would read them in some columns alone.
    """
    for kind in (pa.int64(), pa.float64()) if wanted is int else (pa.float64(),):
        try:
            number: int | float = pa.scalar(text).cast(kind).as_py()
        except pa.ArrowInvalid:
            continue
        is_exact_needed = wanted is int and isinstance(number, float) and math.isfinite(number)
        return Decimal(text) if is_exact_needed else number  # a float would lose digits of a large one
    raise _NotANumber("not a number")


def _mark(faults: dict[int, Fault], mask: pa.Array, fault: Callable[[int], Fault]) -> None:
    """Where the mask is true, and not where it is null."""
    for row in pc.indices_nonzero(mask).to_pylist():
        if row not in faults:
            faults[row] = fault(row)


_READERS: dict[type, Callable[[Setting, pa.Array, dict[int, Fault]], pa.Array]] = {
    str: _texts,
    int: _numbers,
    float: _numbers,
    bool: _booleans,
}
