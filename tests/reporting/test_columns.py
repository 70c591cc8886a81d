"""Texts and drawn places of a metric's column over all cells."""

import math

import pytest

from darkroom.evaluation.figures import Figure, Gap
from darkroom.reporting.columns import NO_FIGURE, MetricColumn
from darkroom.reporting.content import CellResult
from tests.reporting.contents import metric

BEST = CellResult("a", {}, 9, 0, {"fid": Figure(10.0, 9.0, 12.0, 9)})
NEAR = CellResult("b", {}, 9, 0, {"fid": Figure(11.0, None, None, 9)}, {"fid": Gap("a", 1.0, -0.5, 2.5, 9)})
LOST = CellResult("c", {}, 9, 0, {"fid": Figure(math.nan, None, None, 9, warnings=("too few",))})
COLUMN = MetricColumn(metric("fid", "FID", False), (BEST, NEAR, LOST, CellResult("d", {}, 9, 0, {})))


def test_all_cells_are_written_with_as_many_decimals() -> None:
    assert COLUMN.heading == "FID ↓"
    assert [COLUMN.value_and_interval(cell) for cell in COLUMN.cells] == [
        "10.00 (9.00 – 12.00)", "11.00", NO_FIGURE, NO_FIGURE,
    ]  # fmt: skip


def test_best_rivals_and_differences() -> None:
    assert (COLUMN.best, COLUMN.rivals) == ({"a"}, {"b"})
    assert [cell.cell_id for cell in COLUMN.order] == ["a", "b"]
    assert [COLUMN.gap(cell) for cell in (BEST, NEAR)] == ["", "+1.000 (-0.500 to 2.500)"]


def test_a_figure_that_could_not_be_computed_keeps_its_warnings() -> None:
    assert [COLUMN.warnings(cell) for cell in COLUMN.cells] == [(), (), ("too few",), ()]


def test_intervals_are_drawn_on_the_columns_scale() -> None:
    assert COLUMN.drawn(BEST) == pytest.approx((0, 1 / 3, 1))
    assert COLUMN.drawn(NEAR) == pytest.approx((2 / 3,) * 3)
    assert MetricColumn(COLUMN.metric, (NEAR,)).drawn(NEAR) == (0.5, 0.5, 0.5)


def made(*values: float, low: float | None = None) -> MetricColumn:
    """Cells of these values, whose differences nobody measured."""
    ends = [(None, None) if low is None else (value - low, value + low) for value in values]
    figures = [Figure(value, *end, 9) for value, end in zip(values, ends, strict=True)]
    cells = [CellResult(str(place), {}, 9, 0, {"fid": figure}) for place, figure in enumerate(figures)]
    return MetricColumn(metric("fid", "FID", False), cells)


@pytest.mark.parametrize(
    ("column", "is_level", "has_winner", "doubts"),
    [
        (made(3, 3, 3, low=0), True, False, ["2 other cells are equal"]),
        (made(0, 0), True, False, ["1 other cell is equal"]),
        (made(3, 3, 9, low=0.5), False, True, ["1 other cell is equal"]),
        (made(3, 4, 5, low=2), False, False, ["2 other cells are not told apart from it"]),
        (made(3, 3, 4, 9, low=1), False, True, ["1 other cell is equal", "1 other cell is not told apart from it"]),
        (made(3, 4), False, True, ["without an interval, so that chance may have chosen it"]),
        (made(3, 9, low=1), False, True, []),
        (made(3), False, False, []),
    ],
)
def test_a_best_that_nothing_tells_apart_is_none(
    column: MetricColumn, is_level: bool, has_winner: bool, doubts: list[str]
) -> None:
    assert (column.is_level, column.has_winner, column.doubts) == (is_level, has_winner, doubts)
