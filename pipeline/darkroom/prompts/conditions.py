"""Conditions on rows in SQL, such as `aesthetic > 5 and lang = 'en'`, evaluated by DuckDB on one block after another.

A condition is of one row alone: functions of several rows, of chance or of the time are refused, so that the same rows
hold it whatever the blocks, the day and the machine's time zone: times without a zone are read as UTC's.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from functools import cache, cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from darkroom.domain.errors import DarkroomError, MissingPackage, first_line
from darkroom.domain.setting_values import unknown

_SETTINGS = {"threads": 1, "enable_external_access": "false"}  # rows alone decide; no file is read beside them
_REFUSED_CLASSES = {
    "WINDOW": "a function of several rows",
    "SUBQUERY": "a query",
    "PARAMETER": "a parameter",
    "STAR": "a star",
}
_COMPARING = ("COMPARISON", "COMPARE_IN")  # class or type of a node; other comparisons DuckDB refuses itself
_NUMBERS = ("INTEGER", "NUMERIC")
_NEEDED = "give a condition in SQL, as after WHERE"
_REMEDY = "write try_cast(<column> as double) for numbers in a column of text"


class Condition:
    """What a row must hold; a null result is no."""

    def __init__(self, text: str, label: str) -> None:
        """`label`: the key that the text was given as. Raises DarkroomError for what is no condition of a row."""
        self.text, self._label = text, label
        self._connection = _connected(label)
        nodes = list(_nodes(self._parsed))
        for node in nodes:
            self._check(node)
        self.columns = tuple(dict.fromkeys(path[0] for path in _paths(self._parsed)))
        self._numbers = [path for node in nodes for path in _compared_with_numbers(node)]

    def found(self, names: Mapping[str, str]) -> dict[str, str]:
        """Each column of the condition -> its name in a table, of those that are there. `names`: whatever a user may
        call a column -> its name in the table; case matters where two differ in it alone."""
        return {column: name for column in self.columns if (name := _name(column, names))}

    def check(self, names: Mapping[str, str]) -> None:
        """Raises DarkroomError for a column that is nowhere, or two that SQL does not tell apart. `names`: as `found`
        takes them."""
        found = self.found(names)
        spelled: dict[bytes, str] = {}
        for column in self.columns:
            if column not in found:
                raise DarkroomError(f"{self.shown}: {unknown(column, tuple(names), 'column')}")
            other = spelled.setdefault(_folded(column), column)
            if found[column] != found[other]:
                raise DarkroomError(
                    f"{self.shown}: columns {other!r} and {column!r} differ in case alone, which SQL does not tell "
                    "apart; rename one of them"
                )

    def holds(self, table: pa.Table, found: Mapping[str, str]) -> np.ndarray:
        """(N,) bool. `found`: as `found` gives it; cells of other columns are null."""
        if not len(table):
            return np.empty(0, bool)
        spelled = {_folded(column): column for column in reversed(self.columns)}
        cells = {
            column: table.column(found[column]) if column in found else pa.nulls(len(table))
            for column in spelled.values()
        }
        self._check_numbers({column: each.type for column, each in cells.items()})
        rows = pa.table(cells | {"": pa.nulls(len(table))})  # DuckDB refuses no columns
        try:
            result = self._connection.from_arrow(rows).project(f"(\n{self.text}\n) as chosen").to_arrow_table()
        except Exception as error:  # a class of DuckDB's for every kind
            raise DarkroomError(f"{self.shown}: {_explained(first_line(error))}") from error
        kind = result.schema.field(0).type
        if kind != pa.bool_() and result.column(0).null_count < len(result):  # a column of nulls has a type of chance
            raise DarkroomError(f"{self.shown} is {kind}; give a condition that is true or false")
        chosen = result.column(0).cast(pa.bool_()).fill_null(False)
        values: np.ndarray = chosen.to_numpy()
        return values

    def _check_numbers(self, types: Mapping[str, pa.DataType]) -> None:
        """Refuse to compare text with a number: DuckDB would round what the text says, so that '5.4' = 5."""
        for column, *parts in self._numbers:
            kind = types.get(column)
            for part in parts:
                kind = (
                    kind.field(part).type if kind and pt.is_struct(kind) and kind.get_field_index(part) >= 0 else None
                )
            if kind and _is_text(kind):
                raise DarkroomError(
                    f"{self.shown}: column {'.'.join([column, *parts])!r} is text, and is compared with a number; "
                    f"{_REMEDY}"
                )

    @property
    def shown(self) -> str:
        """The key with its value, in one line."""
        return f"{self._label}={' '.join(self.text.splitlines())}"

    @cached_property
    def _parsed(self) -> Mapping[str, Any]:
        """The tree of the condition, as DuckDB's parser has it."""
        if not self.text.strip():
            raise DarkroomError(f"{self._label} is empty; {_NEEDED}, or leave it out")
        try:
            _duckdb(self._label).SQLExpression(self.text)  # one expression, and no more than that
        except Exception as error:
            raise DarkroomError(f"{self.shown}: {_explained(first_line(error))}; {_NEEDED}") from error
        query = f"select 1 from rows where (\n{self.text}\n)"
        rows = self._connection.execute("select json_serialize_sql(?)", [query]).fetchall()
        found = json.loads(rows[0][0])
        if found["error"]:
            raise DarkroomError(f"{self.shown}: {first_line(found['error_message'])}; {_NEEDED}")
        tree: Mapping[str, Any] = found["statements"][0]["node"]["where_clause"]
        return tree

    def _check(self, node: Mapping[str, Any]) -> None:
        what = _REFUSED_CLASSES.get(str(node.get("class")))
        if node.get("class") == "FUNCTION" and not _is_of_a_row(node, _functions_of_a_row(self._label)):
            what = f"{node['function_name']}(), which is no function of a row's values alone"
        if what:
            raise DarkroomError(f"{self.shown} holds {what}; give a condition of one row")


def _nodes(value: object) -> Iterator[Mapping[str, Any]]:
    """Every object in a tree of JSON."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _nodes(each)


def _paths(value: object, bound: frozenset[str] = frozenset()) -> Iterator[list[str]]:
    """Each column of a tree with the fields of it that are named, but for what a lambda calls an element."""
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if isinstance(value, dict) and value.get("class") == "COLUMN_REF" and value["column_names"][0] not in bound:
        yield value["column_names"]
    if isinstance(value, dict) and value.get("syntax_type") == "LAMBDA_KEYWORD":
        bound, parts = bound | {path[0] for path in _paths(value["lhs"])}, [value["expr"]]
    for each in parts:
        yield from _paths(each, bound)


def _compared_with_numbers(node: Mapping[str, Any]) -> list[list[str]]:
    """Columns that a node compares with numbers that are written there."""
    if not {node.get("class"), node.get("type")} & {*_COMPARING}:
        return []
    sides = node.get("children") or [node["left"], node["right"]]
    has_number = any(side["class"] == "CONSTANT" and side["literal"]["kind"] in _NUMBERS for side in sides)
    return [side["column_names"] for side in sides if side["class"] == "COLUMN_REF"] if has_number else []


def _folded(column: str) -> bytes:
    """Equal for names that SQL does not tell apart."""
    return column.encode().lower()  # ASCII's letters


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pt.is_dictionary(kind) else kind
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def _name(column: str, names: Mapping[str, str]) -> str | None:
    if column in names:
        return names[column]
    alike = {name for called, name in names.items() if called.lower() == column.lower()}
    return alike.pop() if len(alike) == 1 else None


def _explained(message: str) -> str:
    """DuckDB begins each with its kind, as in "Binder Error: "."""
    kind, colon, rest = message.partition(" Error: ")
    remedy = f"; {_REMEDY}" if "cast" in rest else "; convert the column" if "Unsupported" in rest else ""
    return (rest if colon else kind).rstrip(".") + remedy


def _duckdb(label: str) -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise MissingPackage(f"{label} needs the package duckdb; run `pip install 'darkroom[sql]'`") from error
    return duckdb


def _connected(label: str) -> Any:
    connection = _duckdb(label).connect(":memory:", config=_SETTINGS)
    connection.execute("set TimeZone = 'UTC'")
    return connection


@cache
def _functions_of_a_row(label: str) -> frozenset[str]:
    """Functions of DuckDB that depend on what they are given alone."""
    connection = _connected(label)
    scalars = connection.execute(
        "select function_name from duckdb_functions() where function_type = 'scalar' and stability = 'CONSISTENT' "
        "except select function_name from duckdb_functions() "
        "where function_type in ('aggregate', 'window') or stability = 'VOLATILE'"
    ).fetchall()
    macros = connection.execute(
        "select function_name, parameters, json_serialize_sql('select ' || macro_definition) from duckdb_functions() "
        "where function_type = 'macro'"
    ).fetchall()
    named = {name for (name,) in scalars}
    trees = [(name, parameters, json.loads(tree)) for name, parameters, tree in macros if name not in named]
    num_before = -1
    while len(named) > num_before:  # macros of macros
        num_before = len(named)
        named |= {name for name, parameters, tree in trees if _is_macro_of_a_row(tree, parameters, named)}
    return frozenset(named)


def _is_macro_of_a_row(tree: object, parameters: Collection[str], named: Collection[str]) -> bool:
    nodes = list(_nodes(tree))
    functions = [node for node in nodes if node.get("class") == "FUNCTION"]
    return (
        not any(node.get("class") in _REFUSED_CLASSES or node.get("error") is True for node in nodes)
        and all(path[0] in parameters for path in _paths(tree))
        and all(_is_of_a_row(node, named) for node in functions)
    )


def _is_of_a_row(function: Mapping[str, Any], named: Collection[str]) -> bool:
    name = function["function_name"]
    return name in named and not (name == "age" and len(function["arguments"]) == 1)  # since then: until today
