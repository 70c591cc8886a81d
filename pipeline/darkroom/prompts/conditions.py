"""Conditions on rows in SQL, such as `aesthetic > 5 and lang = 'en'`, evaluated by DuckDB on one block after another.

A condition is of one row alone: functions of several rows, of chance or of the time are refused, so that the same rows
hold it whatever the blocks.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache, cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from darkroom.domain.errors import DarkroomError, MissingPackage, first_line
from darkroom.domain.setting_values import unknown

_SETTINGS = {"threads": 1, "enable_external_access": "false"}  # rows alone decide; no file is read beside them
_REFUSED_CLASSES = {
    "WINDOW": "a function of several rows",
    "SUBQUERY": "a query",
    "PARAMETER": "a parameter",
    "STAR": "a star",
}


class Condition:
    """What a row must hold; a null result is no."""

    def __init__(self, text: str, label: str) -> None:
        """`label`: the key that the text was given as. Raises DarkroomError for what is no condition of a row."""
        self.text, self._label = text, label
        self._connection = _duckdb(label).connect(":memory:", config=_SETTINGS)
        nodes = list(_nodes(self._parsed))
        for node in nodes:
            self._check(node)
        columns = [node["column_names"][0] for node in nodes if node.get("class") == "COLUMN_REF"]
        self.columns = tuple(dict.fromkeys(columns))

    def found(self, names: Mapping[str, str]) -> dict[str, str]:
        """Each column of the condition -> its name in a table, of those that are there. `names`: whatever a user may
        call a column -> its name in the table; case matters where two differ in it alone."""
        return {column: name for column in self.columns if (name := _name(column, names))}

    def check(self, names: Mapping[str, str]) -> None:
        """Raises DarkroomError for a column that is nowhere. `names`: as `found` takes them."""
        found = self.found(names)
        for column in self.columns:
            if column not in found:
                raise DarkroomError(f"{self._shown}: {unknown(column, tuple(names), 'column')}")

    def holds(self, table: pa.Table, found: Mapping[str, str]) -> np.ndarray:
        """(N,) bool. `found`: as `found` gives it; cells of other columns are null."""
        cells = [
            _as_text(table.column(found[column])) if column in found else pa.nulls(len(table))
            for column in self.columns
        ]
        if not len(table):
            return np.empty(0, bool)
        rows = pa.table([*cells, pa.nulls(len(table))], names=[*self.columns, ""])  # DuckDB refuses no columns
        try:
            result = self._connection.from_arrow(rows).project(f"(\n{self.text}\n) as chosen").to_arrow_table()
        except Exception as error:  # a class of DuckDB's for every kind
            raise DarkroomError(f"{self._shown}: {_explained(first_line(error))}") from error
        kind = result.schema.field(0).type
        if kind != pa.bool_() and result.column(0).null_count < len(result):  # a column of nulls has a type of chance
            raise DarkroomError(f"{self._shown} is {kind}; give a condition that is true or false")
        chosen = result.column(0).cast(pa.bool_()).fill_null(False)
        values: np.ndarray = chosen.to_numpy()
        return values

    @property
    def _shown(self) -> str:
        return f"{self._label}={self.text}"

    @cached_property
    def _parsed(self) -> Mapping[str, Any]:
        """The tree of the condition, as DuckDB's parser has it."""
        query = f"select 1 from rows where (\n{self.text}\n)"
        rows = self._connection.execute("select json_serialize_sql(?)", [query]).fetchall()
        found = json.loads(rows[0][0])
        if found["error"]:
            raise DarkroomError(f"{self._shown}: {found['error_message']}; give a condition in SQL, as after WHERE")
        tree: Mapping[str, Any] = found["statements"][0]["node"]["where_clause"]
        return tree

    def _check(self, node: Mapping[str, Any]) -> None:
        what = _REFUSED_CLASSES.get(str(node.get("class")))
        if node.get("class") == "FUNCTION" and node["function_name"] not in _functions_of_a_row(self._label):
            what = f"{node['function_name']}(), which is no function of a row's values alone"
        if what:
            raise DarkroomError(f"{self._shown} holds {what}; give a condition of one row")


def _nodes(value: object) -> Iterator[Mapping[str, Any]]:
    """Every object in a tree of JSON."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _nodes(each)


def _name(column: str, names: Mapping[str, str]) -> str | None:
    if column in names:
        return names[column]
    alike = {name for called, name in names.items() if called.lower() == column.lower()}
    return alike.pop() if len(alike) == 1 else None


def _as_text(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Of files that have no types cells are bytes; those that are no text are null."""
    if not pa.types.is_binary(cells.type):
        return cells
    with suppress(pa.ArrowInvalid):
        text: pa.ChunkedArray = cells.cast(pa.string())
        text.validate(full=True)
        return text
    return pa.chunked_array([[_text(cell) for cell in cells.to_pylist()]], pa.string())


def _text(cell: bytes | None) -> str | None:
    with suppress(UnicodeDecodeError):
        return None if cell is None else cell.decode()
    return None


def _explained(message: str) -> str:
    """DuckDB begins each with its kind, as in "Binder Error: "."""
    kind, colon, rest = message.partition(" Error: ")
    remedy = "; write try_cast(<column> as double) for numbers in a column of text" if "cast" in rest else ""
    return f"{rest if colon else kind}{remedy}"


def _duckdb(label: str) -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise MissingPackage(f"{label} needs the package duckdb; run `pip install 'darkroom[sql]'`") from error
    return duckdb


@cache
def _functions_of_a_row(label: str) -> frozenset[str]:
    """Functions of DuckDB that depend on what they are given alone."""
    connection = _duckdb(label).connect(":memory:", config=_SETTINGS)
    rows = connection.execute(
        "select function_name from duckdb_functions() "
        "where function_type = 'macro' or (function_type = 'scalar' and stability = 'CONSISTENT') "
        "except select function_name from duckdb_functions() where function_type in ('aggregate', 'window')"
    ).fetchall()
    return frozenset(name for (name,) in rows)
