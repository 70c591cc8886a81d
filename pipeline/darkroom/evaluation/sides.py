"""What a figure is computed from: images on one side, a reference on the other. Knows no metric by name."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.evaluation.gathering import Gathered, Totals
from darkroom.metrics.gaussian import Gaussian
from darkroom.metrics.moments import FeatureMoments
from darkroom.metrics.neighbours import Hits, neighbour_hits
from darkroom.metrics.subsets import sample_keys, subset
from darkroom.runs.features import ImageFeatures, Pair

MOST_COMPARED = 10_000  # images of one side where each is compared with each
NEAREST_K = 5  # neighbours that make a neighbourhood
Logits = Callable[[np.ndarray], np.ndarray]  # (n, d) features to (n, classes)


class Reference(Protocol):
    """Images to compare with, measured by the extractor that measured the others."""

    @property
    def name(self) -> str: ...  # for people

    @property
    def digest(self) -> str: ...  # of the features

    @property
    def ids(self) -> Sequence[str]: ...  # one for each row of features

    @property
    def features(self) -> np.ndarray | None: ...  # (m, d); None where statistics alone are known

    @property
    def gaussian(self) -> Gaussian: ...


@dataclass(frozen=True, eq=False)
class Sides:
    """Both sides, and what else a metric may ask for. What several metrics share is computed once."""

    images: ImageFeatures  # those that are held in memory
    reference: Reference | None
    clip_convention: str  # a name of metrics.clip_score.CONVENTIONS
    seed: int  # of subsets and resamples
    logits: Logits | None = None
    totals: Totals | None = None  # of all images, where more are there than are held
    names: Sequence[str] | None = None  # of the images held, by which some are chosen; None: by their ids
    left_out: Counter[str] = field(default_factory=Counter)  # why images have no features -> how many

    @property
    def num_images(self) -> int:
        """All, held or not."""
        return self.totals.moments.count if self.totals else len(self.images.image_ids)

    @cached_property
    def moments(self) -> FeatureMoments:
        """Of all images."""
        return self.totals.moments if self.totals else FeatureMoments.of(self.images.features)

    @property
    def num_compared(self) -> int:
        return min(len(self.images.image_ids), MOST_COMPARED)

    @property
    def num_reference_compared(self) -> int:
        return min(len(self.reference_features), MOST_COMPARED)

    @property
    def gaussian(self) -> Gaussian:
        """The reference's."""
        if self.reference is None:
            raise DarkroomError("needs reference images; give a reference")
        return self.reference.gaussian

    @property
    def reference_features(self) -> np.ndarray:
        if self.reference is None:
            raise DarkroomError("needs reference images; give a reference")
        if self.reference.features is None:
            raise DarkroomError(
                f"needs the features of reference images, and {self.reference.name} holds statistics alone; "
                "give a reference of images"
            )
        return self.reference.features

    @cached_property
    def compared(self) -> np.ndarray:
        """(n, d) features, of at most MOST_COMPARED images: which ones depends on their ids and the seed alone."""
        return self._few(self.images.features, self.names or self.images.image_ids, "compared images")

    @cached_property
    def reference_compared(self) -> np.ndarray:
        """(m, d), chosen likewise."""
        features = self.reference_features
        assert self.reference is not None
        return self._few(features, self.reference.ids, "compared reference images")

    @cached_property
    def hits(self) -> Hits:
        return neighbour_hits(self.compared, self.reference_compared, NEAREST_K)

    def as_of_all(self, shares: np.ndarray) -> np.ndarray:
        """(n,) shares of the images held, scaled so that their mean varies as that of all images' shares does."""
        return shares * (len(shares) / self.num_images) ** 0.5

    def in_random_order(self) -> np.ndarray:
        """(n,) rows, in an order that the images' ids and the seed decide."""
        ids = self.images.image_ids
        return subset(sample_keys(ids, len(ids), self.seed, "order"), 0, len(ids))

    def _few(self, features: np.ndarray, ids: Sequence[str], purpose: str) -> np.ndarray:
        if len(features) <= MOST_COMPARED:
            return features
        return features[subset(sample_keys(_told_apart(ids), len(features), self.seed, purpose), 0, MOST_COMPARED)]


def sides_of(
    cell: Gathered, reference: Reference | None, clip_convention: str, seed: int, logits: Logits | None = None
) -> Sides:
    """Of a cell: the images that are compared are those of the same prompts and samples in every cell."""
    names = pair_names(cell.held.pairs)
    return Sides(cell.held.images, reference, clip_convention, seed, logits, cell.totals, names, cell.left_out)


def pair_names(pairs: Sequence[Pair]) -> tuple[str, ...]:
    return tuple(digest("pair", *pair) for pair in pairs)


def _told_apart(ids: Sequence[str]) -> list[str]:
    """Repeats by their occurrence: a reference may hold one image twice, under one digest."""
    seen: Counter[str] = Counter()
    names = []
    for name in ids:
        names.append(f"{name}:{seen[name]}")
        seen[name] += 1
    return names
