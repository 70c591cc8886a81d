"""Gaps between cells, image by image: pairs share their prompt and, of one seed, their noise, which cancels out.

A gap shows in this way long before the two cells' own intervals part. Of different seeds the prompt alone cancels out,
and the interval, whose resamples are of pairs, is as much wider. A metric's best cell is chosen by the figures that it
is then compared by, which flatters it a little: an interval that just leaves out 0 says less than it seems.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.catalogue import CATALOGUE, checked_metrics
from darkroom.evaluation.figures import Gap, Metric
from darkroom.evaluation.inputs import MOST_COMPARED, Measured, MetricInputs, ReferenceSet, pair_names
from darkroom.evaluation.measuring import MeasuredCell, chosen_metrics, figure_name, measured, warnings_of
from darkroom.evaluation.resampling import paired_interval
from darkroom.runs.features import ExtractorInfo, ImageFeatures, Pair, PairedFeatures

# (base's cell_id, other cell's, figures' names) -> the other's gaps by name, over the images that both have.
MeasurePairs = Callable[[str, str, Sequence[str]], Mapping[str, Gap]]


def gaps(
    cells: Mapping[str, MeasuredCell], metrics: Mapping[str, Metric], seed: int, measure_pairs: MeasurePairs
) -> dict[str, dict[str, Gap]]:
    """cell_id -> figure's name -> its gap from the best cell's, of cells by one extractor.

    The best cell itself has none, nor has a metric without an interval. Cells of the same images need their influence
    values alone; where some are missing, as after failures, `measure_pairs` measures both over the images they share.
    """
    asked: dict[tuple[str, str], list[str]] = {}
    for name, metric in metrics.items():
        best = _best(cells, name, metric.higher_is_better)
        for cell_id in _comparable(cells, name):
            if best and cell_id != best:
                asked.setdefault((best, cell_id), []).append(name)
    return _gaps(cells, asked, seed, measure_pairs)


def costs(
    cells: Mapping[str, MeasuredCell], lossless: Mapping[str, str], seed: int, measure_pairs: MeasurePairs
) -> dict[str, dict[str, Gap]]:
    """The same for every cell of `lossless` (cell_id -> its base's) and each metric with an interval."""
    asked = {
        (base, cell_id): [name for name in cells[cell_id].figures if cell_id in _comparable(cells, name)]
        for cell_id, base in lossless.items()
    }
    return _gaps(cells, asked, seed, measure_pairs)


def differences(
    cells: Mapping[str, PairedFeatures],
    base: str,
    extractor: ExtractorInfo,
    reference: ReferenceSet | None,
    metrics: Sequence[str] | None,
    clip_convention: str,
    seed: int,
    most_compared: int = MOST_COMPARED,
) -> dict[str, dict[str, Gap]]:
    """Of every cell but the base: figure's name -> gap, over the images that both have. Cells by one extractor.

    `metrics` stand without their extractor's name; None takes those that the extractor is made for and that have an
    interval. The interval is a bootstrap over pairs of both cells' influence values, the same resample for either.
    Raises DarkroomError where a metric has no interval or cannot be computed, or where nothing pairs.
    """
    names = paired_metrics(metrics, extractor, reference)
    found = {}
    known: dict[tuple[str, ...], dict[str, Measured]] = {}  # of the base; most often every cell pairs with all of it
    for cell_id, cell in cells.items():
        if cell_id != base:
            first, other = (
                MetricInputs(images, reference, clip_convention, seed, most_compared=most_compared)
                for images in aligned(cells[base], cell)
            )
            pair_ids = first.images.image_ids
            if pair_ids not in known:
                known[pair_ids] = {name: measured(name, first, extractor) for name in names}
            found[cell_id] = {
                figure_name(extractor, name): _difference(name, base, known[pair_ids][name], other, extractor)
                for name in names
            }
    return found


def paired_metrics(
    metrics: Sequence[str] | None, extractor: ExtractorInfo, reference: ReferenceSet | None
) -> list[str]:
    """Names as the extractor calls them. A DarkroomError for a named one that has no interval to compare by."""
    if metrics is None:
        return [name for name in chosen_metrics(None, extractor, reference) if CATALOGUE[name].has_interval]
    names = checked_metrics(metrics, extractor)
    for name in names:
        if not CATALOGUE[name].has_interval:
            can = ", ".join(other for other, definition in CATALOGUE.items() if definition.has_interval)
            raise DarkroomError(f"metrics: {name} has no interval to compare by; take {can}")
    return names


def aligned(first: PairedFeatures, second: PairedFeatures) -> tuple[ImageFeatures, ImageFeatures]:
    """The images of both that have a partner, row by row in one order, named by their pair and no more by themselves.

    Raises DarkroomError where none has, or where a set holds a pair's image twice.
    """
    rows, other_rows = _row_of_pair(first.pairs), _row_of_pair(second.pairs)
    shared = sorted(rows.keys() & other_rows.keys())
    if not shared:
        found = f"{len(rows):,} and {len(other_rows):,} images"
        raise DarkroomError(f"pairs: of {found} no two share prompt_id and sample_index; render both from one dataset")
    names = pair_names(shared)
    return (
        replace(first.images.taken([rows[pair] for pair in shared]), image_ids=names),
        replace(second.images.taken([other_rows[pair] for pair in shared]), image_ids=names),
    )


def num_of_other_noise(first: PairedFeatures, second: PairedFeatures) -> int:
    """Pairs that share their prompt and not their noise, since their seeds differ."""
    seeds = dict(zip(first.pairs, first.seeds, strict=False))
    return sum(seeds.get(pair, seed) != seed for pair, seed in zip(second.pairs, second.seeds, strict=False))


class Verdict(Enum):
    """Whether a cell b is worse than a cell a."""

    WORSE = "b is worse"
    BETTER = "b is better"
    OPEN = "no difference shown"


def verdict(metric: Metric, gap: Gap, tolerance: float) -> Verdict:
    """Worse is where the whole 95 % interval of b - a lies further than `tolerance` on the worse side; better likewise.

    The tolerance is in the metric's own unit and at least 0. An interval that ends on it shows nothing.
    """
    low, high = (gap.low, gap.high) if metric.higher_is_better else (-gap.high, -gap.low)
    if high < -tolerance:
        return Verdict.WORSE
    return Verdict.BETTER if low > tolerance else Verdict.OPEN


def _gaps(
    cells: Mapping[str, MeasuredCell],
    asked: Mapping[tuple[str, str], Sequence[str]],
    seed: int,
    measure_pairs: MeasurePairs,
) -> dict[str, dict[str, Gap]]:
    found: dict[str, dict[str, Gap]] = {cell_id: {} for cell_id in cells}
    for (base, cell_id), names in asked.items():
        if cells[base].pairs == cells[cell_id].pairs:
            found[cell_id] |= {name: _gap_of_cells(cells, base, cell_id, name, seed) for name in names}
        else:
            try:
                found[cell_id] |= measure_pairs(base, cell_id, names)
            except DarkroomError:  # they share too few images
                continue
    return found


def _best(cells: Mapping[str, MeasuredCell], name: str, higher_is_better: bool) -> str | None:
    """The first of equals; None where the metric has no interval in any cell."""
    values = {cell_id: cells[cell_id].figures[name].value for cell_id in _comparable(cells, name)}
    return (max if higher_is_better else min)(values, key=values.__getitem__, default=None)


def _comparable(cells: Mapping[str, MeasuredCell], name: str) -> list[str]:
    return [cell_id for cell_id, cell in cells.items() if name in cell.influence]


def _gap_of_cells(cells: Mapping[str, MeasuredCell], base: str, cell_id: str, name: str, seed: int) -> Gap:
    values = cells[base].figures[name].value, cells[cell_id].figures[name].value
    return _gap(base, *values, cells[base].influence[name], cells[cell_id].influence[name], seed)


def _difference(metric: str, base: str, first: Measured, inputs: MetricInputs, extractor: ExtractorInfo) -> Gap:
    other = measured(metric, inputs, extractor)
    assert first.influence is not None
    assert other.influence is not None
    gap = _gap(base, first.value, other.value, first.influence, other.influence, inputs.seed)
    return replace(gap, warnings=tuple(warnings_of(metric, inputs, extractor)))


def _gap(base: str, base_value: float, value: float, first: np.ndarray, other: np.ndarray, seed: int) -> Gap:
    """From both cells' values and (n,) influence values, row by row of one pair."""
    difference = value - base_value
    around = paired_interval(other, first, seed=seed)
    return Gap(base, difference, difference + around.low, difference + around.high, len(other), value, base_value)


def _row_of_pair(pairs: Sequence[Pair]) -> dict[Pair, int]:
    rows = {pair: row for row, pair in enumerate(pairs)}
    if len(rows) < len(pairs):
        raise DarkroomError(
            f"pairs: {len(pairs):,} images of {len(rows):,} prompt_ids and sample_indexes; compare one cell at a time"
        )
    return rows
