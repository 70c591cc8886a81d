"""A table as plain data, written for a terminal, in Markdown and in HTML; and numbers with a column's decimals."""

import html
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_DIGITS = 4  # significant, of a column's largest value
_MOST_DECIMALS = 8
_LONGEST = 40  # characters of a text


@dataclass(frozen=True)
class Table:
    """Headings, and rows of as many entries. The first `num_left` columns are text, the others numbers."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_left: int = 1

    def columns(self, start: int, stop: int | None = None) -> list[list[str]]:
        """Some columns, each from its heading on."""
        lines = [self.headings, *self.rows]
        return [[line[place] for line in lines] for place in range(len(self.headings))[start:stop]]


def text_table(table: Table) -> str:
    """Lines of a terminal, columns two spaces apart: text to the left, numbers to the right."""
    return _aligned([table.headings, *table.rows], table.num_left)


def text_tables(table: Table, width: int) -> list[str]:
    """As many tables as it takes for lines of `width` characters, cut between columns; the text comes in each again.

    Rows without an entry are left out.
    """
    left = table.columns(0, table.num_left)
    room = width - max(map(len, _aligned(list(zip(*left, strict=True)), table.num_left).splitlines()))
    groups = (list(zip(*left, *group, strict=True)) for group in _groups(table.columns(table.num_left), room))
    return [_aligned([line for line in group if any(line[table.num_left :])], table.num_left) for group in groups]


def markdown_table(table: Table) -> list[str]:
    """Lines of a GitHub table. Headings and entries are taken as Markdown: escape what comes from anyone."""
    marks = ["---"] * table.num_left + ["---:"] * (len(table.headings) - table.num_left)
    return [f"| {' | '.join(line)} |" for line in (table.headings, marks, *table.rows)]


def html_table(table: Table) -> str:
    """A table element. What is not HTML already, as its `__html__` says (the convention of templates), is escaped."""
    head = "".join(f'<th scope="col">{_escaped(heading)}</th>' for heading in table.headings)
    body = "".join(f"<tr>{''.join(_html_entries(row, table.num_left))}</tr>" for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def decimals(values: Iterable[float]) -> int:
    """Decimals that show the largest of the values with four significant digits."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest == 0:
        return 0
    return max(0, min(_MOST_DECIMALS, _DIGITS - 1 - math.floor(math.log10(largest))))


def number(value: float | None, places: int, missing: str = "-") -> str:
    return f"{value:.{places}f}" if value is not None and math.isfinite(value) else missing


def interval(low: float | None, high: float | None, places: int) -> str:
    """Such as "[11.02, 11.48]"; empty where there is none."""
    return "" if low is None or high is None else f"[{number(low, places)}, {number(high, places)}]"


def arrow(higher_is_better: bool) -> str:
    """Where better is."""
    return "↑" if higher_is_better else "↓"


def setting_text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def shortened(texts: Iterable[str]) -> dict[str, str]:
    """Text -> its beginning in one line, with a number where several are then alike."""
    found: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        line = " ".join(text.split())
        short = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
        alike = sum(name.startswith(short) for name in found.values()) if short != text else 0
        found[text] = f"{short} ({alike + 1})" if alike else short
    return found


def _aligned(lines: Sequence[Sequence[str]], num_left: int) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    written = (
        "  ".join(
            entry.ljust(width) if place < num_left else entry.rjust(width)
            for place, (entry, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
    return "\n".join(line.rstrip() for line in written)


def _groups(columns: Sequence[list[str]], room: int) -> Iterator[list[list[str]]]:
    """Columns that fit beside each other; at least one a group."""
    group: list[list[str]] = []
    left = room
    for column in columns:
        width = max(map(len, column)) + 2
        if group and width > left:
            yield group
            group, left = [], room
        group.append(column)
        left -= width
    if group:
        yield group


def _html_entries(row: Sequence[str], num_left: int) -> Iterator[str]:
    """`dir=auto`: text of any script reads as it should beside text of another."""
    for place, entry in enumerate(row):
        attributes = 'dir="auto"' if place < num_left else 'class="number"'
        yield f"<td {attributes}>{_escaped(entry)}</td>"


def _escaped(entry: str) -> str:
    return entry.__html__() if hasattr(entry, "__html__") else html.escape(entry)
