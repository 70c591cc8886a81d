"""KID and CMMD: the maximum mean discrepancy of two sets of images, over pairs of images of different prompts.

Two images of one prompt are more alike than two of the model's images are. They are no independent draws, and where
they occur more often within a set than across two, the distance of a perfect model is not 0. So such pairs are left out
wherever prompts are known; an image whose prompt is not known has a prompt of its own.

All pairs are walked tile by tile, so memory does not grow with their number.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.moments import checked_pair, squared_distances, tiles
from darkroom.evaluation.resampling import direction, sample_keys, subset

_SIGMA = 10  # of CMMD's kernel
_ROWS_AT_ONCE = 64  # of prompts that have few images: fewer take more calls, more take more pairs for nothing
_SCALE = 1000  # of CMMD, to make the figures easy to read, as the paper does

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (n, d), (m, d) float64 -> (n, m) float64


@dataclass(frozen=True, eq=False)
class Prompts:
    """Numbers that are equal for images of one prompt, in both sets."""

    images: np.ndarray  # (n,) int64
    reference: np.ndarray  # (m,) int64
    are_sample: bool = True  # the images' prompts are draws; else images are, of prompts that are too few for a sample

    @property
    def draws(self) -> np.ndarray:
        """(n,) int64, equal for images of one draw."""
        return self.images if self.are_sample else np.arange(len(self.images))

    @classmethod
    def of(cls, images: Sequence[str] | None, reference: Sequence[str] | None, shape: tuple[int, int]) -> "Prompts":
        """Of (n, m) images; None where a set does not know its prompts: then no two of its images share one."""
        count, num_reference = shape
        numbers: dict[str, int] = {}
        own, others = (
            np.array([numbers.setdefault(prompt, len(numbers)) for prompt in prompts], np.int64)
            if prompts is not None
            else -1 - np.arange(start, start + size)
            for prompts, size, start in ((images, count, 0), (reference, num_reference, count))
        )
        return cls(own, others)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """A kernel over the pairs of different prompts: for each row its sum, and how many pairs that is."""

    sums: np.ndarray  # (n,) float64
    counts: np.ndarray  # (n,) int64
    mean_of_all: float  # the kernel's over all pairs, those of one prompt among them

    @property
    def mean(self) -> float:
        if not self.counts.any():
            raise DarkroomError("no two images are of different prompts; give at least two prompts")
        return float(self.sums.sum() / self.counts.sum())

    def losses(self, draws: np.ndarray, sides: int) -> np.ndarray:
        """(n,) float64: added up by draw, by how much the mean is larger with the draw than without it, p - 1 times, of
        p draws, and of mean 0 over these. Pairs within a set are counted from both `sides`.
        """
        if not self.counts.any():
            return np.zeros(len(draws))
        _, rows, sizes = np.unique(draws, return_inverse=True, return_counts=True)
        left = self.counts.sum() - sides * np.bincount(rows, self.counts)[rows]  # pairs without each row's draw
        moved = np.divide(self.sums - self.counts * self.mean, left, out=np.zeros(len(rows)), where=left > 0)
        moved -= moved.sum() / len(sizes) / sizes[rows]
        return moved * (len(rows) - sizes[rows])


class KernelDistance(NamedTuple):
    """A distance, what each image adds to it, and what an interval of it is made of."""

    value: float
    influence: np.ndarray  # (n,) float64
    squared: float  # the distance over all pairs, those of one prompt and of an image with itself among them
    curvature: float  # its second-order change along `resampling.direction`
    bias: float = 0.0  # by how much chance lifts the value of so few images


def cubic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(x . y / d + 1)^3: the kernel of Binkowski et al. 2018."""
    values = first @ second.T / first.shape[1] + 1
    return values * values * values  # an order faster than a power


def gaussian(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """exp(-|x - y|^2 / (2 sigma^2)), (n, m) of (n, d) and (m, d)."""
    return np.exp(squared_distances(first, second) / (-2 * _SIGMA**2))


def kid(features: np.ndarray, reference: np.ndarray, prompts: Prompts | None = None) -> float:
    """Unbiased MMD^2 of (n, d) and (m, d), kernel (x . y / d + 1)^3: Binkowski et al. 2018, Gretton et al. 2012 eq. 3.

    No pair is an image with itself, or with another of its prompt. Below 0 by chance where the distance is about 0.
    """
    return kid_and_influence(features, reference, prompts)[0]


def kid_and_influence(features: np.ndarray, reference: np.ndarray, prompts: Prompts | None = None) -> KernelDistance:
    """KID, and what it loses without each draw: the jackknife, exactly."""
    if 1 in (len(features), len(reference)):
        raise DarkroomError("KID: a set of one image has no pairs; give at least two")
    draws, within, of_reference, across = _all_pairs(cubic, features, reference, prompts)
    value = within.mean + of_reference.mean - 2 * across.mean
    influence = 2 * (within.losses(draws, sides=2) - across.losses(draws, sides=1))
    curvature = _curvature(cubic, features, direction(influence, draws.tolist()))
    return KernelDistance(value, influence, _over_all(within, of_reference, across), curvature)


@dataclass(frozen=True)
class SubsetKid:
    """Mean and standard deviation (ddof=0) of KID over subsets; the deviation is of one subset, not of the mean."""

    mean: float
    std: float


def kid_over_subsets(
    features: np.ndarray,
    ids: Sequence[str],
    reference: np.ndarray,
    reference_ids: Sequence[str],
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> SubsetKid:
    """KID as it is usually stated: over `num_subsets` pairs of subsets, each drawn without repeats from both sets.

    Who is drawn depends on the ids and the seed alone: equal bits whatever the order of rows.
    """
    features, reference = checked_pair(features, reference)
    for name, rows in (("features", features), ("reference features", reference)):
        if not 2 <= subset_size <= len(rows):
            raise DarkroomError(f"{name}: {len(rows)} images for a subset_size of {subset_size}; give one of 2 to that")
    keys = sample_keys(ids, len(features), seed, "kid")
    reference_keys = sample_keys(reference_ids, len(reference), seed, "kid reference")
    found = [
        kid(features[subset(keys, draw, subset_size)], reference[subset(reference_keys, draw, subset_size)])
        for draw in range(num_subsets)
    ]
    return SubsetKid(float(np.mean(found)), float(np.std(found)))


def cmmd(features: np.ndarray, reference: np.ndarray, prompts: Prompts | None = None) -> float:
    """1000 MMD^2 of (n, d) and (m, d) CLIP features of unit length, Gaussian kernel, sigma 10: Jayasumana et al. 2024.

    The estimate of minimum variance, each image paired with itself too (Gretton et al. 2012 eq. 5), as in the paper's
    own code; that code works in float32, this in float64. An image counts as its own partner 1 time in n, and as one
    of other prompts' images otherwise, so a set of many images a prompt has the figure of one of as many prompts.
    """
    return cmmd_and_influence(features, reference, prompts)[0]


def cmmd_and_influence(features: np.ndarray, reference: np.ndarray, prompts: Prompts | None = None) -> KernelDistance:
    draws, within, of_reference, across = _all_pairs(gaussian, features, reference, prompts)
    share = 1 - 2 / len(features)  # of what an image adds, the rest being its pair with itself
    influence = 2 * _SCALE * (share * within.losses(draws, sides=2) - across.losses(draws, sides=1))
    value = _SCALE * (_with_itself(within) + _with_itself(of_reference) - 2 * across.mean)
    squared = _SCALE * _over_all(within, of_reference, across)
    bias = _SCALE * sum((1 - pairs.mean) / len(pairs.sums) for pairs in (within, of_reference) if len(pairs.sums) > 1)
    curvature = _SCALE * _curvature(gaussian, features, direction(influence, draws.tolist()))
    return KernelDistance(value, influence, squared, curvature, bias)


def _curvature(kernel: Kernel, features: np.ndarray, weights: np.ndarray) -> float:
    """The squared distance by which (n,) changes of weights, of sum 0, move the images' mean in the kernel's space."""
    found = 0.0
    for rows, columns, left, right in tiles(features, features):
        found += float(weights[rows] @ kernel(left, right) @ weights[columns])
    return found


def _over_all(within: _Pairs, of_reference: _Pairs, across: _Pairs) -> float:
    """`squared` of a KernelDistance."""
    return within.mean_of_all + of_reference.mean_of_all - 2 * across.mean


def _with_itself(pairs: _Pairs) -> float:
    """The mean over all pairs of (n,) images, of which 1 in n is an image with itself, for which the kernel is 1."""
    count = len(pairs.sums)
    return 1.0 if count == 1 else (1 + (count - 1) * pairs.mean) / count


def _all_pairs(
    kernel: Kernel, features: np.ndarray, reference: np.ndarray, prompts: Prompts | None
) -> tuple[np.ndarray, _Pairs, _Pairs, _Pairs]:
    """Which images are of one draw; pairs within the images, within the reference, and across them."""
    features, reference = checked_pair(features, reference)
    known = prompts or Prompts.of(None, None, (len(features), len(reference)))
    return (
        known.draws,
        _pairs(kernel, features, features, known.images, known.images),
        _pairs(kernel, reference, reference, known.reference, known.reference),
        _pairs(kernel, features, reference, known.images, known.reference),
    )


def _pairs(kernel: Kernel, first: np.ndarray, second: np.ndarray, prompts: np.ndarray, others: np.ndarray) -> _Pairs:
    sums, counts = np.zeros(len(first)), np.full(len(first), len(second))
    for rows, _, left, right in tiles(first, second):
        sums[rows] += kernel(left, right).sum(axis=1)
    mean_of_all = float(sums.sum() / (len(first) * len(second)))
    for own, partners in _of_few_prompts(prompts, others):
        for rows, columns, left, right in tiles(first[own], second[partners]):
            of_one = prompts[own[rows], None] == others[partners[columns]]
            sums[own[rows]] -= (kernel(left, right) * of_one).sum(axis=1)
            counts[own[rows]] -= of_one.sum(axis=1)
    return _Pairs(sums, counts, mean_of_all)


def _of_few_prompts(prompts: np.ndarray, others: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of both sets, of some prompts that both have: of one that has many images, or of many that have few."""
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    for rows in _of_one_prompt(prompts, others):
        waiting.append(rows)
        if sum(len(own) for own, _ in waiting) >= _ROWS_AT_ONCE:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(groups: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    own, partners = zip(*groups, strict=True)
    return np.concatenate(own), np.concatenate(partners)


def _of_one_prompt(prompts: np.ndarray, others: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of both sets, prompt by prompt of those that both have."""
    shared = np.intersect1d(prompts, others)
    both = []
    for values in (prompts, others):
        order = np.argsort(values, kind="stable")
        starts, stops = (np.searchsorted(values[order], shared, side) for side in ("left", "right"))
        both.append([order[start:stop] for start, stop in zip(starts, stops, strict=True)])
    return zip(*both, strict=True)
