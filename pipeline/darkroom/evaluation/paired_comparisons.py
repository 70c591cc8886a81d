"""Votes on pairs of images: win rates, Bradley-Terry scores, shares and agreement, each with what its interval is of.

Prompts are what is drawn, as for other figures: influence values are one a prompt (see `resampling`). Votes are few and
often one-sided, and then vary too little to tell, so intervals are of the votes and four added ones, two for and
two against, each of a prompt of its own (Agresti and Coull 1998); estimates of shares are of the votes alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.resampling import LEVEL, Interval, bonferroni, margin

NUM_ADDED = 4  # votes
_SIGNS = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])  # of added votes; rows are orthogonal
_MOST_STEPS = 100
_CONVERGED = 1e-10


@dataclass(frozen=True, eq=False)
class Comparisons:
    """n votes on pairs of k items."""

    first: np.ndarray  # (n,) int, the item that `scores` are of
    second: np.ndarray  # (n,) int
    scores: np.ndarray  # (n,) float64: 1 where the first won, 0.5 for a tie, 0
    prompts: np.ndarray  # (n,) int, from 0 and without gaps
    num_items: int
    weights: np.ndarray | None = None  # (n,) float64; None: 1 each

    @property
    def num_prompts(self) -> int:
        return int(self.prompts.max(initial=-1)) + 1

    @property
    def weight(self) -> np.ndarray:
        return np.ones(len(self.scores)) if self.weights is None else self.weights

    def of_items(self, values: np.ndarray, others: np.ndarray) -> np.ndarray:
        """(p, k) sums by prompt: over its votes, of the first items' `values` and the second ones' `others`."""
        shape = (self.num_prompts, self.num_items)
        cells = np.concatenate([self.prompts * self.num_items + item for item in (self.first, self.second)])
        return np.bincount(cells, np.concatenate([values, others]), shape[0] * shape[1]).reshape(shape)


@dataclass(frozen=True, eq=False)
class Estimates:
    """One number of each of k items."""

    values: np.ndarray  # (k,); NaN of an item without a vote
    centres: np.ndarray  # (k,) of their intervals
    influence: np.ndarray  # (p + NUM_ADDED, k) float64, columns of mean 0

    def interval(self, item: int, lowest: float, highest: float) -> Interval:
        """Of one item, cut at the ends of the scale."""
        width, centre = margin(self.influence[:, item], is_skewed=False), float(self.centres[item])
        low, high = (min(max(end, lowest), highest) for end in (centre - width, centre + width))
        return Interval(float(self.values[item]), low, high)


def win_rates(votes: Comparisons) -> Estimates:
    """Share of an item's votes that it won, ties as half."""
    wins, counts = _wins(votes)
    more_wins, more_counts = _wins(with_added(votes))
    with np.errstate(invalid="ignore"):
        values = wins.sum(axis=0) / counts.sum(axis=0)
        centres = more_wins.sum(axis=0) / more_counts.sum(axis=0)
        influence = (more_wins - centres * more_counts) * (len(more_counts) / more_counts.sum(axis=0))
    return Estimates(values, centres, influence)


def bradley_terry(votes: Comparisons) -> Estimates:
    """Log-odds scores of mean 0, so that i beats j with probability 1 / (1 + exp(s_j - s_i)): Bradley and Terry 1952.

    Greatest likelihood of the votes and the added ones, ties as half a win each, by Newton's steps; influence values
    are those of an M-estimator (Huber 1964). Raises DarkroomError where votes do not connect all items.
    """
    votes = with_added(votes)
    scores = np.zeros(votes.num_items)
    for _ in range(_MOST_STEPS):
        residuals, curvature = _gradient(votes, scores)
        step = curvature @ residuals.sum(axis=0)
        scores = scores + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < _CONVERGED:
            break
    residuals, curvature = _gradient(votes, scores)
    return Estimates(scores, scores, residuals @ curvature * votes.num_prompts)


def with_added(votes: Comparisons) -> Comparisons:
    """With NUM_ADDED votes an item, shared by the items that it was compared with, each of a new prompt."""
    low, high = np.minimum(votes.first, votes.second), np.maximum(votes.first, votes.second)
    pairs = np.unique(np.stack([low, high], axis=1), axis=0)
    signs = _SIGNS[np.arange(len(pairs)) % len(_SIGNS)]
    prompts = np.broadcast_to(votes.num_prompts + np.arange(NUM_ADDED), signs.shape)
    share = 1 / max(1, votes.num_items - 1)
    return replace(
        votes,
        first=np.concatenate([votes.first, np.repeat(pairs[:, 0], NUM_ADDED)]),
        second=np.concatenate([votes.second, np.repeat(pairs[:, 1], NUM_ADDED)]),
        scores=np.concatenate([votes.scores, (signs.ravel() + 1) / 2]),
        prompts=np.concatenate([votes.prompts, prompts.ravel()]),
        weights=np.concatenate([votes.weight, np.full(signs.size, share)]),
    )


def share(hits: np.ndarray, prompts: np.ndarray, weights: np.ndarray | None = None) -> Interval:
    """Mean of (n,) values from 0 to 1, of trials of prompts that are numbered from 0, with (n,) weights."""
    one, other = np.zeros(len(hits), int), np.ones(len(hits), int)
    weights = None if weights is None else weights / weights.mean()
    return win_rates(Comparisons(one, other, np.asarray(hits, float), prompts, 2, weights)).interval(0, 0.0, 1.0)


def half_width(num_prompts: float, rate: float = 0.5) -> float:
    """Expected half width of a share's interval from one vote a prompt, without ties: z sqrt(p (1 - p) / n)."""
    return bonferroni(1, LEVEL) * (rate * (1 - rate) / num_prompts) ** 0.5


def votes_needed(width: float, rate: float = 0.5) -> int:
    """Prompts with one vote each that make the interval's half width `width`: the rule above, solved for n."""
    return int(np.ceil((bonferroni(1, LEVEL) / width) ** 2 * rate * (1 - rate)))


# Agreement -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """Of raters who voted on the same pair."""

    num_units: int  # pairs of images with several votes
    same: Interval  # share of two raters' votes on a pair that are the same
    alpha: Interval  # Krippendorff's; NaN where no two votes could have differed


def agreement(counts: np.ndarray, prompts: Sequence[int]) -> Agreement | None:
    """Of (u, 3) numbers of raters who chose the first image, neither and the second, of pairs of these prompts.

    Krippendorff's alpha for nominal data (Krippendorff 2019, chapter 12), where which image is first is no choice of
    anyone: chance is that of both orders, and taken as fixed by its interval. None without a pair of several votes.
    """
    several = counts.sum(axis=1) > 1
    if not several.any():
        return None
    counts, rows = counts[several].astype(float), np.unique(np.asarray(prompts)[several], return_inverse=True)[1]
    totals = counts.sum(axis=1)
    equal = (counts * (counts - 1)).sum(axis=1) / (totals * (totals - 1))
    same = share(equal, rows, totals)
    marginals = (counts + counts[:, ::-1]).sum(axis=0) / 2
    total = marginals.sum()
    chance = (total**2 - (marginals**2).sum()) / (total * (total - 1))  # of two votes that differ
    alphas = (1 - (1 - part) / chance if chance else np.nan for part in (same.estimate, same.low, same.high))
    return Agreement(len(counts), same, Interval(*map(float, alphas)))


def _wins(votes: Comparisons) -> tuple[np.ndarray, np.ndarray]:
    """(p, k) what each item won of each prompt's votes, and how many it had."""
    won = votes.scores * votes.weight
    return votes.of_items(won, votes.weight - won), votes.of_items(votes.weight, votes.weight)


def _gradient(votes: Comparisons, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(p, k) derivatives of each prompt's log-likelihood, and the (k, k) inverse of their information."""
    chance = 1 / (1 + np.exp(scores[votes.second] - scores[votes.first]))
    rest = (votes.scores - chance) * votes.weight
    information = np.zeros((votes.num_items, votes.num_items))
    np.add.at(information, (votes.first, votes.second), -votes.weight * chance * (1 - chance))
    information += information.T
    np.fill_diagonal(information, -information.sum(axis=1))
    if np.linalg.matrix_rank(information) < votes.num_items - 1:
        raise DarkroomError("votes: they do not connect all cells, so that no scores can be had; rate more pairs")
    return votes.of_items(rest, -rest), np.linalg.pinv(information)
