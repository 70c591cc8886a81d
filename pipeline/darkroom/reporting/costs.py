"""What cells pay for settings that trade quality for speed, against the same cells without them. Knows no page."""

import math
from collections.abc import Iterator, Mapping

from darkroom.reporting.content import Cost
from darkroom.reporting.figures import RunFigures
from darkroom.reporting.survey import CellCount
from darkroom.runs.cells import CellInfo, lossless_of


def costs(cells: Mapping[str, CellInfo], counts: Mapping[str, CellCount], figures: RunFigures) -> Iterator[Cost]:
    """One for each such cell, in the order of `cells`."""
    for cell_id, base in lossless_of(cells).items():
        known = {name: gap for name, gap in figures.costs(cell_id).items() if gap.base == base}
        speed_up = _ratio(counts[base].image_s, counts[cell_id].image_s) if base else None
        yield Cost(cell_id, cells[cell_id].cell.lossy, base, speed_up, known)


def _ratio(one: float, other: float) -> float | None:
    return one / other if math.isfinite(one) and math.isfinite(other) and other > 0 else None
