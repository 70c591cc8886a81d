"""Scores by the values of a prompt file's columns, in memory that does not grow with the run. Knows no page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.types as pt

from darkroom.metrics.tables import setting_text
from darkroom.reporting.content import GroupScore

LEAST_VALUES, MOST_VALUES = 2, 30  # of a column that groups images
_LONGEST = 60  # characters of a group's name; longer text is no group's name
NO_VALUE = "(none)"


@dataclass
class _Group:
    total: float = 0.0
    count: int = 0


@dataclass
class Breakdown:
    """Sums of scores: column -> its value -> cell_id."""

    _columns: dict[str, dict[str, dict[str, _Group]]] = field(default_factory=dict)
    _dropped: set[str] = field(default_factory=set)  # columns that turned out to group nothing

    def add(self, cell_id: str, columns: pa.Table, rows: Sequence[int], scores: Sequence[float]) -> None:
        """Images of one cell: `rows` of the table, with their scores."""
        for name, column in zip(columns.column_names, columns.columns, strict=True):
            if name not in self._dropped:
                self._add_column(name, column, cell_id, rows, scores)

    def result(self) -> dict[str, Mapping[str, Mapping[str, GroupScore]]]:
        """Mean scores, of the columns that have few values and more than one."""
        found = {name: values for name, values in self._columns.items() if len(values) >= LEAST_VALUES}
        return {
            name: {
                value: {cell_id: GroupScore(group.total / group.count, group.count) for cell_id, group in groups}
                for value, groups in ((value, by_cell.items()) for value, by_cell in values.items())
            }
            for name, values in found.items()
        }

    def _add_column(
        self, name: str, column: pa.ChunkedArray, cell_id: str, rows: Sequence[int], scores: Sequence[float]
    ) -> None:
        texts = None if _is_nested(column.type) else column.to_pylist()
        known = self._columns.setdefault(name, {})
        for row, score in zip(rows, scores, strict=True):
            value = _text(texts[row]) if texts is not None else None
            if value is None or (value not in known and len(known) == MOST_VALUES):
                self._drop(name)
                return
            group = known.setdefault(value, {}).setdefault(cell_id, _Group())
            group.total += score
            group.count += 1

    def _drop(self, name: str) -> None:
        del self._columns[name]
        self._dropped.add(name)


def _is_nested(kind: pa.DataType) -> bool:
    return pt.is_nested(kind) or pt.is_binary(kind) or pt.is_large_binary(kind)


def _text(value: object) -> str | None:
    """A group's name; None for text that is too long to be one."""
    if value is None or value == "":
        return NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = setting_text(value) if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else None
