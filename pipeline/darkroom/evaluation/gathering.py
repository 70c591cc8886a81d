"""A cell's images in memory that does not grow with their number: sums over all, rows of some."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import add

import numpy as np

from darkroom.domain.identity import digest
from darkroom.evaluation.moments import FeatureMoments
from darkroom.runs.features import ImageFeatures, PairedFeatures, joined_pairs

MOST_HELD = 50_000  # images of a cell whose features are in memory: 400 MB of 2,048 dimensions
_MOST_OF_PROMPT = 50  # images of one, where there are more prompts than fill what is held
_KEYS = 2.0**32  # different digests of prompts
_MOST_REASONS, _REASONS_SHOWN = 1000, 3
BLOCK = 8192  # images that are added to the moments at once, since each addition costs O(d^2) beside its work


@dataclass(frozen=True, eq=False)
class Totals:
    """Of all of a cell's images."""

    moments: FeatureMoments  # of scores with 0 for each that does not apply
    known: np.ndarray  # (d,) int64: images of which each feature is a number; all, but of scores
    cosines: float  # their sum
    cut_cosines: float  # their sum, each cut at 0
    num_truncated: int

    @classmethod
    def of(cls, images: ImageFeatures) -> "Totals":
        cosines = images.cosines.astype(np.float64)
        cut = float(np.maximum(cosines, 0).sum())
        known = ~np.isnan(images.features)
        features = images.features if known.all() else np.where(known, images.features, 0)
        sums = float(cosines.sum()), cut, int(images.truncated.sum())
        return cls(FeatureMoments.of(features), known.sum(axis=0), *sums)

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.moments + other.moments,
            self.known + other.known,
            self.cosines + other.cosines,
            self.cut_cosines + other.cut_cosines,
            self.num_truncated + other.num_truncated,
        )


@dataclass(frozen=True, eq=False)
class Gathered:
    """What figures need to know of a cell's images."""

    held: PairedFeatures  # all, or MOST_HELD of them: the same prompts and samples in every cell
    totals: Totals | None = None  # of all; None where all are held
    left_out: Counter[str] = field(default_factory=Counter)  # why images have no features -> how many
    share_of_prompts: float = 1.0  # that images are held of, to some percent


def gathered(parts: Iterable[PairedFeatures], most: int = MOST_HELD, block: int = BLOCK) -> Gathered:
    """Of at least one part. Which images are held depends on their prompts, prompt_ids and sample_indexes alone."""
    held: list[_Held] = []
    totals: Totals | None = None
    left_out: Counter[str] = Counter()
    for images in _blocks(parts, block):
        _count(left_out, images.left_out)
        held.append(_Held(images))
        if totals is not None:
            totals += Totals.of(images.images)
        elif sum(len(part.images.pairs) for part in held) > most:
            totals = reduce(add, (Totals.of(part.images.images) for part in held))
        if totals is not None:
            held = _thinned(held, most)
    share = _share_of_prompts(held, most) if totals is not None else 1.0
    return Gathered(joined_pairs([part.images for part in held]), totals, left_out, share)


def left_out_lines(left_out: Counter[str], num_scored: int) -> Iterator[str]:
    """What is said beside a figure of the images that do have features; nothing where all have."""
    if left_out:
        reasons = "; ".join(f"{count:,} x {reason}" for reason, count in left_out.most_common(_REASONS_SHOWN))
        more = f" and {len(left_out) - _REASONS_SHOWN} other reasons" if len(left_out) > _REASONS_SHOWN else ""
        total = left_out.total()
        yield f"{total:,} of {num_scored + total:,} images are left out, since they have no features: {reasons}{more}"


def _count(counts: Counter[str], more: Counter[str]) -> None:
    for reason, number in more.items():
        counts[reason if len(counts) < _MOST_REASONS or reason in counts else "other reasons"] += number


@dataclass(frozen=True, eq=False)
class _Held:
    images: PairedFeatures

    @cached_property
    def keys(self) -> np.ndarray:
        """(n,) uint64: the upper half a digest of each image's prompt, the lower half one of its sample."""
        prompts = [digest("held", prompt, length=8) for prompt in self.images.prompts]
        samples = [digest("held", *pair, length=8) for pair in self.images.pairs]
        return np.array([int(one + other, 16) for one, other in zip(prompts, samples, strict=True)], np.uint64)


def _thinned(held: Sequence[_Held], most: int) -> list[_Held]:
    """At most `most` images, in the order they were in: those with the lowest keys, of each prompt at first.

    Of few prompts each keeps as many; of more than fill `most`, the first ones keep all, or _MOST_OF_PROMPT.
    """
    keys = np.sort(np.concatenate([part.keys for part in held]))
    _, starts, sizes = np.unique(keys >> np.uint64(32), return_index=True, return_counts=True)
    of_prompt = max(_MOST_OF_PROMPT, most // max(1, len(starts)))
    places = np.arange(len(keys)) - np.repeat(starts, sizes)
    kept = keys[places < of_prompt][:most]
    return [_rows(part, np.flatnonzero(np.isin(part.keys, kept))) for part in held]


def _share_of_prompts(held: Sequence[_Held], most: int) -> float:
    """Digests are evenly spread, so the highest of those held says how many there are: Bar-Yossef et al. 2002."""
    prompts = np.unique(np.concatenate([part.keys for part in held]) >> np.uint64(32))
    if len(prompts) * _MOST_OF_PROMPT < most:
        return 1.0  # all of so few
    return float(prompts[-1]) / _KEYS


def _rows(part: _Held, rows: np.ndarray) -> _Held:
    return part if len(rows) == len(part.keys) else _Held(part.images.taken(rows.tolist()))


def _blocks(parts: Iterable[PairedFeatures], size: int) -> Iterator[PairedFeatures]:
    """The same images, at least `size` at a time but for the last ones."""
    waiting: list[PairedFeatures] = []
    for part in parts:
        waiting.append(part)
        if sum(len(one.pairs) for one in waiting) >= size:
            yield joined_pairs(waiting)
            waiting = []
    if waiting:
        yield joined_pairs(waiting)
