"""Figures of votes on blind pairs: win rates and Bradley-Terry scores of cells, and gaps between them."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.figures import RATERS, Figure, Gap, Metric
from darkroom.evaluation.gaps import gaps
from darkroom.evaluation.measuring import MeasuredCell
from darkroom.evaluation.paired_comparisons import (
    Comparisons,
    Estimates,
    bradley_terry,
    win_rates,
)
from darkroom.evaluation.resampling import LEVEL, joint_margins
from darkroom.runs.ratings import SCORES, RatedPair, Study, Vote

WIN_RATE, BRADLEY_TERRY = f"{RATERS}.win_rate", f"{RATERS}.bradley_terry"
_INTERVAL = (
    "95 % of Student's, from votes added up by prompt, and four added ones, Agresti and Coull 1998; raters are taken "
    "as fixed"
)
_SHARE = Metric(
    name=WIN_RATE,
    title="Win rate",
    higher_is_better=True,
    convention="share of a cell's votes on blind pairs that it won, ties as half",
    interval=_INTERVAL,
    extractor=RATERS,
    extractor_id="",
    weights="",
    resize="",
    reference="",
    reference_digest="",
)
_SCORE = replace(
    _SHARE,
    name=BRADLEY_TERRY,
    title="Bradley-Terry score",
    convention="log-odds of winning a blind pair, mean 0 over cells, ties as half a win each; Bradley and Terry 1952",
)
_ENDS = {WIN_RATE: (0.0, 1.0), BRADLEY_TERRY: (-math.inf, math.inf)}
_FEWEST_CELLS = {WIN_RATE: 2, BRADLEY_TERRY: 3}  # of two cells the score says no more than the rate
METRICS: Mapping[str, Metric] = {WIN_RATE: _SHARE, BRADLEY_TERRY: _SCORE}
_ESTIMATES = {WIN_RATE: win_rates, BRADLEY_TERRY: bradley_terry}
_UNEVEN = (
    "not all cells were rated against each other, so that win rates are of different opponents and rank none; compare "
    "Bradley-Terry scores, or rate more pairs"
)


@dataclass(frozen=True)
class Judgement:
    """One vote that is no skip."""

    rater: str
    pair: RatedPair
    score: float  # of the left image

    @property
    def cell_ids(self) -> tuple[str, str]:
        return self.pair.left.cell_id, self.pair.right.cell_id


def judgements(study: Study, votes: Iterable[Vote]) -> list[Judgement]:
    """Without those on pairs that came again, which say how steady a rater is."""
    chosen = [(study.pairs[vote.pair], vote) for vote in votes if vote.choice in SCORES]
    return [Judgement(vote.rater, pair, SCORES[vote.choice]) for pair, vote in chosen if pair.repeats is None]


# Cells ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RatedCells:
    """Figures of cells, and what gaps between them are computed from."""

    metrics: Mapping[str, Metric]
    cells: Mapping[str, MeasuredCell]  # by cell_id
    centres: Mapping[str, Mapping[str, float]]  # of intervals, by Metric.name and cell_id


def rated_cells(found: Sequence[Judgement], cell_ids: Sequence[str]) -> RatedCells:
    """Cells without a vote have NaN, and a reason."""
    having = _of_cells(found)
    rated = [cell_id for cell_id in cell_ids if cell_id in having]
    images = _num_images(found)
    figures: dict[str, dict[str, Figure]] = {cell_id: {} for cell_id in cell_ids}
    influence: dict[str, dict[str, np.ndarray]] = {cell_id: {} for cell_id in cell_ids}
    centres: dict[str, dict[str, float]] = {}
    votes, is_even = comparisons(found, rated), _is_even(found, rated)
    names = [name for name, fewest in _FEWEST_CELLS.items() if len(rated) >= fewest]
    for name in names:
        estimates, reason = _estimates(name, votes)
        warnings = (_UNEVEN,) if name == WIN_RATE and not is_even else ()
        for place, cell_id in enumerate(rated):
            figures[cell_id][name] = _figure(name, estimates, reason, place, images[cell_id], warnings)
            if estimates and not warnings:
                influence[cell_id][name] = estimates.influence[:, place]
        centres[name] = dict(zip(rated, estimates.centres.tolist(), strict=True)) if estimates else {}
    for cell_id in set(cell_ids) - set(rated):
        figures[cell_id] = {name: Figure(math.nan, None, None, 0, None, ("no vote is on its pairs",)) for name in names}
    pairs = tuple((f"{left} {right}", 0) for left, right in sorted({image_ids(each) for each in found}))
    cells = {cell_id: MeasuredCell(figures[cell_id], influence[cell_id], pairs) for cell_id in cell_ids}
    return RatedCells({name: METRICS[name] for name in names}, cells, centres)


def rated_gaps(rated: RatedCells, cell_ids: Collection[str], seed: int) -> dict[str, dict[str, Gap]]:
    """From each metric's best of these cells, as of other figures; around the centres of the cells' own intervals."""
    own = {cell_id: cell for cell_id, cell in rated.cells.items() if cell_id in cell_ids}
    found = gaps(own, rated.metrics, seed, _never)
    return {
        cell_id: {name: _around(gap, rated.centres[name], cell_id, *_ENDS[name]) for name, gap in each.items()}
        for cell_id, each in found.items()
    }


def rated_gap(found: Iterable[Judgement], base: str, other: str, seed: int, level: float = LEVEL) -> Gap | None:
    """The win rate of `other` less that of `base` in the votes on pairs of the two; None where there are none."""
    between = [each for each in found if set(each.cell_ids) == {base, other}]
    if not between:
        return None
    estimates = win_rates(comparisons(between, [base, other]))
    influence = estimates.influence[:, 1] - estimates.influence[:, 0]
    width = float(joint_margins(influence[:, None], level, seed=seed).widths[0])
    one, two = estimates.values.tolist()
    centre = float(estimates.centres[1] - estimates.centres[0])
    low, high = max(-1.0, centre - width), min(1.0, centre + width)
    return Gap(base, two - one, low, high, len({image_ids(each) for each in between}), two, one)


def comparisons(found: Sequence[Judgement], cell_ids: Sequence[str]) -> Comparisons:
    places = {cell_id: place for place, cell_id in enumerate(cell_ids)}
    return Comparisons(
        first=np.array([places[each.pair.left.cell_id] for each in found], int),
        second=np.array([places[each.pair.right.cell_id] for each in found], int),
        scores=np.array([each.score for each in found], float),
        prompts=numbered(each.pair.prompt for each in found),
        num_items=len(cell_ids),
    )


def _estimates(name: str, votes: Comparisons) -> tuple[Estimates | None, str]:
    """Or why there are none."""
    try:
        return _ESTIMATES[name](votes), ""
    except DarkroomError as error:
        return None, str(error)


def _figure(
    name: str,
    estimates: Estimates | None,
    reason: str,
    place: int,
    num_images: int,
    warnings: tuple[str, ...],
) -> Figure:
    if estimates is None:
        return Figure(math.nan, None, None, num_images, None, (reason,))
    found = estimates.interval(place, *_ENDS[name])
    return Figure(found.estimate, found.low, found.high, num_images, None, warnings, not warnings)


def _around(gap: Gap, centres: Mapping[str, float], cell_id: str, lowest: float, highest: float) -> Gap:
    """With its interval moved to the difference of the centres, and cut where no difference can be."""
    shift = centres[cell_id] - centres[gap.base] - gap.difference
    span = highest - lowest
    return replace(gap, low=max(-span, gap.low + shift), high=min(span, gap.high + shift))


def _never(base: str, cell_id: str, names: Sequence[str]) -> Mapping[str, Gap]:
    raise AssertionError("all rated cells hold the same pairs")


def _is_even(found: Iterable[Judgement], rated: Sequence[str]) -> bool:
    """Every cell was rated against every other."""
    met = {frozenset(each.cell_ids) for each in found}
    return all(frozenset(two) in met for two in combinations(rated, 2))


def _of_cells(found: Iterable[Judgement]) -> set[str]:
    return {cell_id for each in found for cell_id in each.cell_ids}


def _num_images(found: Iterable[Judgement]) -> Counter[str]:
    """By cell_id."""
    images = {(image.cell_id, image.image_id) for each in found for image in (each.pair.left, each.pair.right)}
    return Counter(cell_id for cell_id, _ in images)


def image_ids(judgement: Judgement) -> tuple[str, str]:
    """In an order that does not depend on their sides."""
    first, second = sorted((judgement.pair.left.image_id, judgement.pair.right.image_id))
    return first, second


def numbered(texts: Iterable[str]) -> np.ndarray:
    """(n,) int: equal for equal texts, from 0 in the order in which they come first."""
    places: dict[str, int] = {}
    return np.array([places.setdefault(text, len(places)) for text in texts], int)
