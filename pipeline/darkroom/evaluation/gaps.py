"""Gaps between cells, image by image: pairs share their prompt and, of one seed, their noise, which cancels out.

A gap shows in this way long before the two cells' own intervals part. Of different seeds the prompt alone cancels out,
and the interval, whose resamples are of prompts, is as much wider.

Of many cells of equal worth some lie far from the best by chance, and the best is chosen by the figures that it is then
compared by. So intervals are simultaneous: among all pairs of cells by one metric, and, where two cells are compared by
several metrics, among these; what lossy settings cost, among these costs. In 95 of 100 sweeps none of the intervals
leaves out the true difference.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.catalogue import definition, metrics_for
from darkroom.evaluation.figures import Gap, Metric
from darkroom.evaluation.inputs import MOST_COMPARED, Measured, MetricInputs, References, by_name, pair_names
from darkroom.evaluation.measuring import (
    MeasuredCell,
    chosen_metrics,
    counted,
    figure_name,
    measured,
    rank_fault,
    warnings_of,
)
from darkroom.evaluation.resampling import (
    LEVEL,
    Margins,
    bonferroni,
    joint_margins,
    joint_margins_of_pairs,
    least_error,
)
from darkroom.evaluation.sliced_wasserstein import NUM_PROJECTIONS
from darkroom.runs.features import ExtractorInfo, Pair, PairedFeatures

# (base's cell_id, other cell's, figures' names) -> the other's gaps by name, over the images that both have.
MeasurePairs = Callable[[str, str, Sequence[str]], Mapping[str, Gap]]


def gaps(
    cells: Mapping[str, MeasuredCell], metrics: Mapping[str, Metric], seed: int, measure_pairs: MeasurePairs
) -> dict[str, dict[str, Gap]]:
    """cell_id -> figure's name -> its gap from the best cell's, of cells by one extractor.

    The best cell itself has none, nor has a metric without an interval. Cells of the same images need their influence
    values alone; where some are missing, as after failures, `measure_pairs` measures both over the images they share.
    """
    asked = {}
    for name, metric in metrics.items():
        best = _best(cells, name, metric.higher_is_better)
        if best:
            asked[name] = {cell_id: best for cell_id in _comparable(cells, name) if cell_id != best}
    return _gaps(cells, asked, seed, measure_pairs, of_best=True)


def costs(
    cells: Mapping[str, MeasuredCell], lossless: Mapping[str, str], seed: int, measure_pairs: MeasurePairs
) -> dict[str, dict[str, Gap]]:
    """The same for every cell of `lossless` (cell_id -> its base's) and each metric with an interval.

    No base is chosen by its figure, so the intervals hold for these gaps alone.
    """
    names = dict.fromkeys(name for cell in cells.values() for name in cell.influence)
    asked = {}
    for name in names:
        there = set(_comparable(cells, name))
        asked[name] = {cell_id: base for cell_id, base in lossless.items() if {cell_id, base} <= there}
    return _gaps(cells, asked, seed, measure_pairs, of_best=False)


def differences(
    cells: Mapping[str, PairedFeatures],
    base: str,
    extractor: ExtractorInfo,
    reference: References,
    metrics: Sequence[str] | None,
    clip_convention: str,
    seed: int,
    most_compared: int = MOST_COMPARED,
    level: float | None = LEVEL,
    num_projections: int = NUM_PROJECTIONS,
) -> dict[str, dict[str, Gap]]:
    """Of every cell but the base: figure's name -> gap, over the images that both have. Cells by one extractor.

    `metrics` stand without their extractor's name; None takes those that the extractor is made for, that have an
    interval, and that so few images can be compared by. The intervals of a cell hold for all of its metrics at once, in
    `level` of the cases; None: each for itself, in LEVEL of them. Raises DarkroomError where a metric has no interval
    or cannot be computed, or where nothing pairs.
    """
    found = {}
    known: dict[tuple[str, ...], dict[str, Measured]] = {}  # of the base; most often every cell pairs with all of it
    for cell_id, cell in cells.items():
        if cell_id != base:
            images, others = aligned(cells[base], cell)
            inputs = MetricInputs(
                images.images,
                reference,
                clip_convention,
                seed,
                most_compared=most_compared,
                prompts=images.prompts,
                num_projections=num_projections,
            )
            first, other = inputs, replace(inputs, images=others.images)
            chosen = paired_metrics(metrics, extractor, reference)
            names = [name for name in chosen if _is_ranked(name, metrics, first, extractor)]
            pair_ids = first.images.image_ids
            if pair_ids not in known:
                known[pair_ids] = {name: measured(name, first, extractor) for name in names}
            found[cell_id] = _differences(base, known[pair_ids], other, extractor, level)
    return found


def _is_ranked(name: str, named: Sequence[str] | None, inputs: MetricInputs, extractor: ExtractorInfo) -> bool:
    """Raises DarkroomError for a metric that is named and is not."""
    fault = rank_fault(name, inputs.num_images, extractor)
    if fault and named is not None:
        measured(name, inputs, extractor)  # what cannot be computed at all says so first
        raise DarkroomError(f"{figure_name(extractor, name)}: {fault}")
    return not fault


def _differences(
    base: str, known: Mapping[str, Measured], inputs: MetricInputs, extractor: ExtractorInfo, level: float | None
) -> dict[str, Gap]:
    """`known`: metric's name -> of the base."""
    others = {name: measured(name, inputs, extractor) for name in known}
    moved = {name: _moved(known[name], other) for name, other in others.items()}
    if level is None:
        widths = {name: _widths({name: each}, LEVEL, inputs.seed)[name] for name, each in moved.items()}
    else:
        widths = _widths(moved, level, inputs.seed)
    found = {}
    for name in known:
        num_pairs, _ = counted(name, inputs, extractor)
        gap = _gap(base, known[name].value, others[name].value, widths[name], num_pairs)
        warnings = tuple(warnings_of(name, others[name], inputs, extractor))
        found[figure_name(extractor, name)] = replace(gap, warnings=warnings)
    return found


def _moved(base: Measured, other: Measured) -> Measured:
    """The other's, with what each image adds to their difference."""
    draws = [each.num_draws for each in (base, other) if each.num_draws is not None]
    influence = _influence(other) - _influence(base)
    return replace(other, influence=influence, num_draws=min(draws, default=None))


def _influence(found: Measured) -> np.ndarray:
    assert found.influence is not None  # since the metric has an interval
    return found.influence


def _widths(moved: Mapping[str, Measured], level: float, seed: int) -> dict[str, float]:
    """Half the interval of each metric's difference. Metrics of unequally many prompts share the chance of an error."""
    found: dict[str, float] = {}
    for size in {len(_influence(each)) for each in moved.values()}:
        names = [name for name, each in moved.items() if len(_influence(each)) == size]
        share = 1 - (1 - level) * len(names) / len(moved)
        values = np.stack([_influence(moved[name]) for name in names], axis=1)
        draws = np.array([moved[name].num_draws or size for name in names])
        least = np.array(
            [least_error(of) if moved[name].is_share else 0 for name, of in zip(names, draws, strict=True)]
        )
        margins = joint_margins(values, share, seed=seed, least=least).of_draws(draws)
        found |= dict(zip(names, margins.widths.tolist(), strict=True))
    return found


def paired_metrics(metrics: Sequence[str] | None, extractor: ExtractorInfo, reference: References) -> list[str]:
    """Names as the extractor calls them. A DarkroomError for a named one that has no interval to compare by."""
    names = chosen_metrics(metrics, extractor, by_name(reference))
    if metrics is None:
        return [name for name in names if definition(name, extractor).has_interval]
    for name in names:
        if not definition(name, extractor).has_interval:
            can = ", ".join(other for other in metrics_for(extractor) if definition(other, extractor).has_interval)
            raise DarkroomError(f"metrics: {name} has no interval to compare by; take {can}")
    return names


def aligned(first: PairedFeatures, second: PairedFeatures) -> tuple[PairedFeatures, PairedFeatures]:
    """The images of both that have a partner, row by row in one order, named by their pair and no more by themselves.

    Raises DarkroomError where none has, or where a set holds a pair's image twice.
    """
    rows, other_rows = _row_of_pair(first.pairs), _row_of_pair(second.pairs)
    shared = sorted(rows.keys() & other_rows.keys())
    if not shared:
        found = f"{len(rows):,} and {len(other_rows):,} images"
        raise DarkroomError(f"pairs: of {found} no two share prompt_id and sample_index; render both from one dataset")
    return (
        _named(first.taken([rows[pair] for pair in shared])),
        _named(second.taken([other_rows[pair] for pair in shared])),
    )


def _named(images: PairedFeatures) -> PairedFeatures:
    return replace(images, images=replace(images.images, image_ids=pair_names(images.pairs)))


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
    asked: Mapping[str, Mapping[str, str]],
    seed: int,
    measure_pairs: MeasurePairs,
    of_best: bool,
) -> dict[str, dict[str, Gap]]:
    """`asked`: figure's name -> cell_id -> the base's; `of_best`: which was chosen by its figure."""
    found: dict[str, dict[str, Gap]] = {cell_id: {} for cell_id in cells}
    others: dict[tuple[str, str], list[str]] = {}  # (base, cell_id) that hold other images -> figures' names
    num_gaps = {
        name: _num_pairs(len(_comparable(cells, name))) if of_best else len(bases) for name, bases in asked.items()
    }
    for name, bases in asked.items():
        for images in _of_same_images(cells, bases):
            for cell_id, gap in _gaps_of_same_images(cells, name, images, num_gaps[name], seed, of_best).items():
                found[cell_id][name] = gap
        for cell_id, base in bases.items():
            if cells[base].pairs != cells[cell_id].pairs:
                others.setdefault((base, cell_id), []).append(name)
    for (base, cell_id), names in others.items():
        measured_gaps = _measured_gaps(base, cell_id, names, measure_pairs)
        found[cell_id] |= {name: _widened(gap, num_gaps[name]) for name, gap in measured_gaps.items()}
    return found


def _num_pairs(num_cells: int) -> int:
    return num_cells * (num_cells - 1) // 2


def _measured_gaps(base: str, cell_id: str, names: Sequence[str], measure_pairs: MeasurePairs) -> Mapping[str, Gap]:
    """Without those that the images they share are too few for."""
    try:
        return measure_pairs(base, cell_id, names)
    except DarkroomError:
        each = [[name] for name in names] if len(names) > 1 else []
        return {name: gap for one in each for name, gap in _measured_gaps(base, cell_id, one, measure_pairs).items()}


def _of_same_images(cells: Mapping[str, MeasuredCell], bases: Mapping[str, str]) -> list[dict[str, str]]:
    """`bases` (cell_id -> base's) by the images that both hold; those of unequal images are left out."""
    found: dict[tuple[Pair, ...], dict[str, str]] = {}
    for cell_id, base in bases.items():
        if cells[base].pairs == cells[cell_id].pairs:
            found.setdefault(cells[base].pairs, {})[cell_id] = base
    return list(found.values())


def _gaps_of_same_images(
    cells: Mapping[str, MeasuredCell], name: str, bases: Mapping[str, str], num_gaps: int, seed: int, of_best: bool
) -> dict[str, Gap]:
    """Among `num_gaps` gaps that are looked at, some of which may be of cells that hold other images."""
    widths = (_widths_of_pairs if of_best else _widths_of_bases)(cells, name, bases, num_gaps, seed)
    found = {}
    for cell_id, base in bases.items():
        one, other = cells[cell_id].figures[name], cells[base].figures[name]
        num_pairs = min(len(cells[cell_id].pairs), one.num_images)
        found[cell_id] = _gap(base, other.value, one.value, widths[cell_id], num_pairs)
    return found


def _widths_of_pairs(
    cells: Mapping[str, MeasuredCell], name: str, bases: Mapping[str, str], num_gaps: int, seed: int
) -> dict[str, float]:
    """Half the interval of each cell's gap, which holds for those of all pairs of them."""
    ids = list(dict.fromkeys([*bases.values(), *bases]))
    place = {cell_id: number for number, cell_id in enumerate(ids)}
    values = np.stack([cells[cell_id].influence[name] for cell_id in ids], axis=1)
    draws = _num_draws(cells, name, ids, len(values))
    margins = joint_margins_of_pairs(values, seed=seed, least=_least_error(cells, name, draws)).of_draws(draws)
    widths = _among(margins, _num_pairs(len(ids)), num_gaps).widths
    return {cell_id: float(widths[place[cell_id], place[base]]) for cell_id, base in bases.items()}


def _widths_of_bases(
    cells: Mapping[str, MeasuredCell], name: str, bases: Mapping[str, str], num_gaps: int, seed: int
) -> dict[str, float]:
    """The same, for these gaps alone."""
    differences = [cells[cell_id].influence[name] - cells[base].influence[name] for cell_id, base in bases.items()]
    values = np.stack(differences, axis=1)
    draws = _num_draws(cells, name, (*bases, *bases.values()), len(values))
    margins = joint_margins(values, seed=seed, least=_least_error(cells, name, draws)).of_draws(draws)
    margins = _among(margins, len(bases), num_gaps)
    return dict(zip(bases, margins.widths.tolist(), strict=True))


def _num_draws(cells: Mapping[str, MeasuredCell], name: str, cell_ids: Iterable[str], num_rows: int) -> int:
    """Of the cell that has the fewest."""
    return min(cells[cell_id].num_draws.get(name, num_rows) for cell_id in cell_ids)


def _least_error(cells: Mapping[str, MeasuredCell], name: str, num_draws: int) -> float:
    return least_error(num_draws) if any(name in cell.shares for cell in cells.values()) else 0.0


def _among(margins: Margins, num_here: int, num_gaps: int) -> Margins:
    """Wide enough for more gaps than they are of."""
    return margins if num_gaps <= num_here else replace(margins, critical=max(margins.critical, bonferroni(num_gaps)))


def _widened(gap: Gap, num_gaps: int) -> Gap:
    """Of two cells alone, for so many gaps."""
    width = (gap.high - gap.low) / 2 * bonferroni(num_gaps) / bonferroni(1)
    return replace(gap, low=gap.difference - width, high=gap.difference + width)


def _best(cells: Mapping[str, MeasuredCell], name: str, higher_is_better: bool) -> str | None:
    """The first of equals; None where the metric has no interval in any cell."""
    values = {cell_id: cells[cell_id].figures[name].value for cell_id in _comparable(cells, name)}
    return (max if higher_is_better else min)(values, key=values.__getitem__, default=None)


def _comparable(cells: Mapping[str, MeasuredCell], name: str) -> list[str]:
    return [cell_id for cell_id, cell in cells.items() if name in cell.influence]


def _gap(base: str, base_value: float, value: float, width: float, num_pairs: int) -> Gap:
    difference = value - base_value
    return Gap(base, difference, difference - width, difference + width, num_pairs, value, base_value)


def _row_of_pair(pairs: Sequence[Pair]) -> dict[Pair, int]:
    rows = {pair: row for row, pair in enumerate(pairs)}
    if len(rows) < len(pairs):
        raise DarkroomError(
            f"pairs: {len(pairs):,} images of {len(rows):,} prompt_ids and sample_indexes; compare one cell at a time"
        )
    return rows
