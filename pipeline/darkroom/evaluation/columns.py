"""Text in columns, and numbers of one column with the same decimals. Knows no figure."""

import math
from collections.abc import Iterable, Sequence

_DIGITS = 4  # significant, of a column's largest value


def aligned(rows: Sequence[Sequence[str]], num_left: int) -> str:
    """Rows as lines, columns two spaces apart: the first `num_left` to the left, the others to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = (
        "  ".join(
            text.ljust(width) if place < num_left else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def decimals(values: Iterable[float]) -> int:
    """Decimals that show the largest of the values with four significant digits."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return max(0, min(8, _DIGITS - 1 - math.floor(math.log10(largest)))) if largest > 0 else 0


def number(value: float, places: int) -> str:
    return f"{value:.{places}f}" if math.isfinite(value) else "-"


def interval(low: float | None, high: float | None, places: int) -> str:
    return "" if low is None or high is None else f"[{number(low, places)}, {number(high, places)}]"


def arrow(higher_is_better: bool) -> str:
    """Where better is."""
    return "↑" if higher_is_better else "↓"
