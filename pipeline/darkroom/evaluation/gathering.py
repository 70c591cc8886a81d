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
    return _gathering(parts, (), most, block).gathered


def part_of(
    parts: Iterable[PairedFeatures], known: Sequence[int] | np.ndarray, most: int = MOST_HELD, block: int = BLOCK
) -> "Part":
    """Of at least one part, which are not all. `known`: the keys of images of others that are held by now."""
    return _gathering(parts, known, most, block).part


def _gathering(
    parts: Iterable[PairedFeatures], known: Sequence[int] | np.ndarray, most: int, block: int
) -> "Gathering":
    found = Gathering(most, known)
    for images in _blocks(parts, block):
        found.add(Part.of(images))
    return found


@dataclass(frozen=True, eq=False)
class Part:
    """What is known of some of a cell's images, which follow each other."""

    held: "Sequence[_Held]"  # block by block: all, or those that may be held in the end
    num_images: int
    totals: Totals | None = None  # of all; None where they were not asked for yet, so that all are held
    left_out: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, images: PairedFeatures) -> "Part":
        """One block."""
        return cls((_Held(images),), len(images.pairs), left_out=images.left_out)

    @property
    def sums(self) -> Iterator[Totals]:
        """One, or none of no image. Blocks are added up in their order, then parts: so often that no sum depends on
        which worker made it."""
        blocks = [part.images.images for part in self.held if part.images.pairs]
        if self.totals is not None:
            yield self.totals
        elif blocks:
            yield reduce(add, map(Totals.of, blocks))


class Gathering:
    """Adds up a cell's images, part by part in their order."""

    def __init__(self, most: int = MOST_HELD, known: Sequence[int] | np.ndarray = ()) -> None:
        """`known`: keys of images that are held elsewhere: of these, such are held as may be beside those."""
        self._most, self._known = most, np.asarray(known, np.uint64)
        self._held: list[_Held] = []
        self._unsummed: list[Part] = []
        self._totals: Totals | None = None
        self._num_images = 0
        self._left_out: Counter[str] = Counter()

    def add(self, part: Part) -> None:
        _count(self._left_out, part.left_out)
        self._held += part.held
        self._num_images += part.num_images
        self._unsummed.append(part)
        is_over = self._num_images + len(self._known) > self._most
        if is_over or len(self._known):
            self._sum()
        if is_over:
            self._held = _thinned(self._held, self._most, self._known)

    def _sum(self) -> None:
        sums = [total for part in self._unsummed for total in part.sums]
        self._unsummed = []
        if sums:
            self._totals = reduce(add, sums if self._totals is None else [self._totals, *sums])

    @property
    def is_empty(self) -> bool:
        """No image was there, not even one without features."""
        return not self._num_images and not self._left_out

    @property
    def keys(self) -> np.ndarray:
        """(n,) uint64, of the images held by now."""
        return np.concatenate([np.empty(0, np.uint64), *(part.keys for part in self._held)])

    @property
    def part(self) -> Part:
        return Part(self._held, self._num_images, self._totals, self._left_out)

    @property
    def gathered(self) -> Gathered:
        """Of at least one part."""
        totals = self._totals if self._num_images > self._most else None
        share = 1.0 if totals is None else _share_of_prompts(self._held, self._most)
        return Gathered(joined_pairs([part.images for part in self._held]), totals, self._left_out, share)


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
    taken_keys: np.ndarray | None = None  # of what these were taken from

    @cached_property
    def keys(self) -> np.ndarray:
        """(n,) uint64: the upper half a digest of each image's prompt, the lower half one of its sample."""
        if self.taken_keys is not None:
            return self.taken_keys
        prompts = [digest("held", prompt, length=8) for prompt in self.images.prompts]
        samples = [digest("held", *pair, length=8) for pair in self.images.pairs]
        return np.array([int(one + other, 16) for one, other in zip(prompts, samples, strict=True)], np.uint64)


def _thinned(held: Sequence[_Held], most: int, known: np.ndarray) -> list[_Held]:
    """At most `most` images, in the order they were in, of these and those with the keys `known`: those with the lowest
    keys, of each prompt at first.

    Of few prompts each keeps as many; of more than fill `most`, the first ones keep all, or _MOST_OF_PROMPT. So what is
    dropped of a part is never among what is kept of the whole, and parts can be thinned before they are joined.
    """
    own = np.concatenate([part.keys for part in held])
    keys = np.sort(np.concatenate([known, own]))
    _, starts, sizes = np.unique(keys >> np.uint64(32), return_index=True, return_counts=True)
    of_prompt = max(_MOST_OF_PROMPT, most // max(1, len(starts)))
    places = np.arange(len(keys)) - np.repeat(starts, sizes)
    kept = np.isin(own, keys[places < of_prompt][:most])
    masks = np.split(kept, np.cumsum([len(part.keys) for part in held])[:-1])
    return [_rows(part, mask) for part, mask in zip(held, masks, strict=True) if mask.any()] or [
        _rows(held[0], masks[0])
    ]


def _share_of_prompts(held: Sequence[_Held], most: int) -> float:
    """Digests are evenly spread, so the highest of those held says how many there are: Bar-Yossef et al. 2002."""
    prompts = np.unique(np.concatenate([part.keys for part in held]) >> np.uint64(32))
    if len(prompts) * _MOST_OF_PROMPT < most:
        return 1.0  # all of so few
    return float(prompts[-1]) / _KEYS


def _rows(part: _Held, mask: np.ndarray) -> _Held:
    return part if mask.all() else _Held(part.images.taken(np.flatnonzero(mask).tolist()), part.keys[mask])


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
