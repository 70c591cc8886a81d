"""How far cells lie from one another, image by image, and so which cannot be told apart. Knows no store.

A metric's best cell is chosen by the figures that it is then compared by, which flatters it a little: an interval that
just leaves out 0 says less than it seems.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.figures import MeasuredFigure
from darkroom.evaluation.pairs import Difference
from darkroom.metrics.bootstrap import paired_interval
from darkroom.runs.evaluations import Gap, MetricInfo
from darkroom.runs.features import Pair

# (base, other cell, figures' names) -> the other's differences by name, over the images that both have.
Again = Callable[[str, str, Sequence[str]], Mapping[str, Difference]]


@dataclass(frozen=True, eq=False)
class MeasuredCell:
    """What is left of a cell once its features are let go."""

    pairs: tuple[Pair, ...]  # of the images held, in the order of shares
    figures: Mapping[str, MeasuredFigure]


def gaps(
    cells: Mapping[str, MeasuredCell], infos: Mapping[str, MetricInfo], seed: int, again: Again
) -> dict[str, dict[str, Gap]]:
    """cell_id -> figure's name -> its distance from the best cell's, of cells by one extractor.

    The best cell itself has none, nor has a metric without an interval. Cells of the same images need their shares
    alone; where some are missing, as after failures, `again` measures both sides over the images that they share.
    """
    asked: dict[tuple[str, str], list[str]] = {}
    for name, info in infos.items():
        best = _best(cells, name, info.higher_is_better)
        for cell_id in _comparable(cells, name):
            if best and cell_id != best:
                asked.setdefault((best, cell_id), []).append(name)
    return _measured(cells, asked, seed, again)


def costs(
    cells: Mapping[str, MeasuredCell], lossless: Mapping[str, str], seed: int, again: Again
) -> dict[str, dict[str, Gap]]:
    """The same for every cell of `lossless` (cell_id -> its base's) and each metric with an interval."""
    asked = {
        (base, cell_id): [name for name in cells[cell_id].figures if cell_id in _comparable(cells, name)]
        for cell_id, base in lossless.items()
    }
    return _measured(cells, asked, seed, again)


def _measured(
    cells: Mapping[str, MeasuredCell], asked: Mapping[tuple[str, str], Sequence[str]], seed: int, again: Again
) -> dict[str, dict[str, Gap]]:
    found: dict[str, dict[str, Gap]] = {cell_id: {} for cell_id in cells}
    for (base, cell_id), names in asked.items():
        if cells[base].pairs == cells[cell_id].pairs:
            found[cell_id] |= {name: _gap(cells, base, cell_id, name, seed) for name in names}
        else:
            found[cell_id] |= _measured_again(base, cell_id, names, again)
    return found


def _best(cells: Mapping[str, MeasuredCell], name: str, higher_is_better: bool) -> str | None:
    """The first of equals; None where the metric has no interval in any cell."""
    values = {cell_id: cells[cell_id].figures[name].figure.value for cell_id in _comparable(cells, name)}
    return (max if higher_is_better else min)(values, key=values.__getitem__, default=None)


def _comparable(cells: Mapping[str, MeasuredCell], name: str) -> list[str]:
    return [cell_id for cell_id, cell in cells.items() if cell.figures[name].shares is not None]


def _gap(cells: Mapping[str, MeasuredCell], base: str, cell_id: str, name: str, seed: int) -> Gap:
    first, other = cells[base].figures[name], cells[cell_id].figures[name]
    assert first.shares is not None
    assert other.shares is not None
    shift = other.figure.value - first.figure.value
    around = paired_interval(other.shares, first.shares, seed=seed)
    return Gap(base, shift, shift + around.low, shift + around.high, len(other.shares))


def _measured_again(base: str, cell_id: str, names: Sequence[str], again: Again) -> dict[str, Gap]:
    try:
        found = again(base, cell_id, names)
    except DarkroomError:  # they share too few images
        return {}
    return {name: Gap(base, one.difference, one.low, one.high, one.num_pairs) for name, one in found.items()}
