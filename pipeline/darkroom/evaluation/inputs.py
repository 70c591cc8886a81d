"""What a cell's figures are computed from, and each metric's value and influence values on it.

What several metrics share (moments, neighbourhoods, the images that are compared) is computed once.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.evaluation.frechet import extrapolated_fid, frechet_curvature, frechet_deletions, frechet_distance
from darkroom.evaluation.gathering import Totals
from darkroom.evaluation.kernel_distances import Prompts, cmmd_and_influence, kid_and_influence
from darkroom.evaluation.moments import FeatureMoments, Gaussian, centred, unit_rows
from darkroom.evaluation.neighbours import Hits, authentic, near_duplicates, neighbour_hits
from darkroom.evaluation.reference_free import (
    clip_score,
    clip_score_of_means,
    image_clip_scores,
    inception_score,
    prompt_diversity,
    softmax,
    vendi_deletions,
    vendi_score,
)
from darkroom.evaluation.resampling import by_prompt, direction, sample_keys, subset
from darkroom.evaluation.sliced_wasserstein import NUM_PROJECTIONS, mind_and_influence, mind_curvature
from darkroom.runs.features import ImageFeatures, Pair

MOST_COMPARED = 10_000  # images of a set where each is compared with each
NEAREST_K = 5  # neighbours that make a neighbourhood
DUPLICATE_COSINE = 0.95  # from which on two images are duplicates
FEWEST_PROMPTS = 10  # that are taken for a sample of prompts; of fewer, images are taken for a sample of images
_FEWEST_DELETED = 3  # images: without one of them two are left, and have a covariance
_FEWEST_SCORED = 2  # images that a score applies to
Logits = Callable[[np.ndarray], np.ndarray]  # (n, d) features to (n, classes)


class ReferenceSet(Protocol):
    """Images to compare with, by the extractor of the images that are compared with them."""

    @property
    def name(self) -> str: ...  # for people

    @property
    def digest(self) -> str: ...  # of the features

    @property
    def ids(self) -> Sequence[str]: ...  # one for each row of features

    @property
    def prompts(self) -> Sequence[str] | None: ...  # of each row's image; None where they are not known

    @property
    def features(self) -> np.ndarray | None: ...  # (m, d); None where statistics alone are known

    @property
    def gaussian(self) -> Gaussian: ...


References = ReferenceSet | Mapping[str, ReferenceSet] | None  # one, some by their names, or none


def by_name(references: References) -> Mapping[str, ReferenceSet]:
    """ "" is the name of one that has none."""
    if references is None:
        return {}
    return references if isinstance(references, Mapping) else {"": references}


@dataclass(frozen=True, eq=False)
class MetricInputs:
    """A set of images, the reference, and what else a metric may ask for."""

    images: ImageFeatures  # those that are held in memory
    reference: References  # metrics take one: see `against`
    clip_convention: str  # a name of reference_free.CLIP_CONVENTIONS
    seed: int  # of subsets and resamples
    logits: Logits | None = None
    totals: Totals | None = None  # of all images, where more are there than are held
    names: Sequence[str] | None = None  # of the images held, by which some are chosen; None: by their ids
    left_out: Counter[str] = field(default_factory=Counter)  # why images have no features -> how many
    most_compared: int = MOST_COMPARED
    prompts: Sequence[str] | None = None  # of each image held; None: not known
    share_of_prompts: float = 1.0  # of all images' prompts, those of images held
    num_projections: int = NUM_PROJECTIONS  # of MIND
    whole: "MetricInputs | None" = None  # that these are a view of

    def against(self, name: str) -> "MetricInputs":
        """Beside the one reference of this name; the same each time, so that what was computed once is kept."""
        if not isinstance(self.reference, Mapping):
            return self
        if name not in self._views:
            self._views[name] = replace(self, reference=self.reference.get(name), whole=self)
        return self._views[name]

    @cached_property
    def even(self) -> "MetricInputs":
        """As many images of either set as the smaller one has, of those that are compared."""
        if self.reference is None or self.reference.features is None:  # type: ignore[union-attr]
            return self
        return replace(self, most_compared=min(self.num_compared, self.num_reference_compared), whole=self)

    @cached_property
    def _views(self) -> "dict[str, MetricInputs]":
        return {}

    @property
    def num_images(self) -> int:
        """All, held or not."""
        return self.totals.moments.count if self.totals else self.num_held

    @property
    def num_held(self) -> int:
        return len(self.images.image_ids)

    def num_scored(self, column: int) -> int:
        """Images, held or not, that this score applies to."""
        if self.totals:
            return int(self.totals.known[column])
        return int(np.count_nonzero(~np.isnan(self.images.features[:, column])))

    def num_draws_scored(self, column: int) -> int:
        """Images held that this score applies to, or, of a sample of prompts, their prompts; 2 at least."""
        num_images = int(np.count_nonzero(~np.isnan(self.images.features[:, column])))
        num_prompts = self.num_prompts_scored(column) if self.sampled_prompts is not None else None
        return max(2, num_images if num_prompts is None else num_prompts)

    def num_prompts_scored(self, column: int) -> int | None:
        """Prompts of images held that this score applies to; None where they are not known."""
        known = ~np.isnan(self.images.features[:, column])
        return None if self.prompts is None else len({self.prompts[row] for row in np.flatnonzero(known).tolist()})

    @property
    def num_compared(self) -> int:
        return min(self.num_held, self.most_compared)

    @property
    def num_reference_compared(self) -> int:
        return min(len(self.reference_features), self.most_compared)

    @property
    def reference_gaussian(self) -> Gaussian:
        return self._needed_reference.gaussian

    @property
    def reference_features(self) -> np.ndarray:
        """(m, d). A DarkroomError where statistics alone are known."""
        reference = self._needed_reference
        if reference.features is None:
            raise DarkroomError(
                f"needs the features of reference images, and {reference.name} holds statistics alone; "
                "give a reference of images"
            )
        return reference.features

    @cached_property
    def moments(self) -> FeatureMoments:
        """Of all images."""
        if self.whole:
            return self.whole.moments
        return self.totals.moments if self.totals else FeatureMoments.of(self.images.features)

    @cached_property
    def sampled_prompts(self) -> Sequence[str] | None:
        """Those of images held, as a sample of prompts; None where images are a sample by themselves."""
        return _sample_of_prompts(self.prompts)

    @cached_property
    def compared_rows(self) -> np.ndarray:
        """(n,) rows of at most `most_compared` images: which ones depends on their ids and the seed alone."""
        return self._drawn(self.names or self.images.image_ids, "compared images")

    @cached_property
    def compared(self) -> np.ndarray:
        """(n, d) features."""
        return _rows(self.images.features, self.compared_rows)

    @cached_property
    def prompts_compared(self) -> Sequence[str] | None:
        """Of each image compared, as a sample of prompts."""
        return _taken(self.sampled_prompts, self.compared_rows)

    @cached_property
    def reference_compared_rows(self) -> np.ndarray:
        """(m,), chosen likewise."""
        return self._drawn(self._needed_reference.ids, "compared reference images")

    @cached_property
    def reference_compared(self) -> np.ndarray:
        """(m, d) features."""
        return _rows(self.reference_features, self.reference_compared_rows)

    @cached_property
    def compared_prompts(self) -> Prompts:
        """Of both sets; few are enough to leave pairs of one prompt out."""
        found = Prompts.of(
            _several(_taken(self.prompts, self.compared_rows)),
            _several(_taken(self._needed_reference.prompts, self.reference_compared_rows)),
            (len(self.compared_rows), len(self.reference_compared_rows)),
        )
        return replace(found, are_sample=self.sampled_prompts is not None)

    @cached_property
    def hits(self) -> Hits:
        return neighbour_hits(self.compared, self.reference_compared, NEAREST_K)

    def scaled_to_all(self, influence: np.ndarray) -> np.ndarray:
        """(n,) influence values of the images held, scaled so that their mean varies as that of all images' does.

        Of a sample of prompts, at least so: some of a prompt's images may be held, and their mean varies more.
        """
        share = self.num_held / self.num_images if self.sampled_prompts is None else self.share_of_prompts
        return influence * share**0.5

    def in_random_order(self) -> np.ndarray:
        """(n,) rows of the images held, in an order that their ids and the seed decide."""
        ids = self.images.image_ids
        return subset(sample_keys(ids, len(ids), self.seed, "order"), 0, len(ids))

    @property
    def _needed_reference(self) -> ReferenceSet:
        if self.reference is None:
            raise DarkroomError("needs reference images; give a reference")
        assert not isinstance(self.reference, Mapping)  # since metrics take views
        return self.reference

    def _drawn(self, ids: Sequence[str], purpose: str) -> np.ndarray:
        if len(ids) <= self.most_compared:
            return np.arange(len(ids))
        keys = sample_keys(numbered(ids), len(ids), self.seed, purpose)
        return subset(keys, 0, self.most_compared)


def pair_names(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """A digest of each prompt_id and sample_index: by it every cell draws images of the same prompts and samples."""
    return tuple(digest("pair", *pair) for pair in pairs)


def _sample_of_prompts(prompts: Sequence[str] | None) -> Sequence[str] | None:
    return prompts if prompts is not None and len(set(prompts)) >= FEWEST_PROMPTS else None


def _rows(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return features if len(rows) == len(features) else features[rows]  # all, in their order


def _several(prompts: Sequence[str] | None) -> Sequence[str] | None:
    """None where all are one, for then no pair would be left."""
    return prompts if prompts is not None and len(set(prompts)) > 1 else None


def _taken(prompts: Sequence[str] | None, rows: np.ndarray) -> list[str] | None:
    return None if prompts is None else [prompts[row] for row in rows]


def numbered(ids: Sequence[str]) -> list[str]:
    """Repeats by their occurrence: a reference may hold one image twice, under one digest."""
    seen: Counter[str] = Counter()
    names = []
    for name in ids:
        names.append(f"{name}:{seen[name]}")
        seen[name] += 1
    return names


@dataclass(frozen=True, eq=False)
class Measured:
    """A metric of one set of images."""

    value: float
    influence: np.ndarray | None = None  # (n,) float64, see `resampling`; None: the metric has no interval
    is_share: bool = False  # of images, each of which counts or does not
    squared: float | None = None  # of a squared distance, counted from 0: see `resampling.distance_interval`
    curvature: float = 0.0  # of it: its second-order change along `resampling.direction`
    most: float | None = None  # of an effective number, see `resampling.number_interval`
    noise: float = 0.0  # of that
    num_draws: int | None = None  # prompts or images that it is of, where the others' influence is 0; None: all
    bias: float = 0.0  # by how much chance lifts the value of so few images, about, where that is known
    error: float = 0.0  # standard error of what is drawn at random beside images

    def by_prompt(self, prompts: Sequence[str] | None) -> "Measured":
        """With (p,) influence values, one a prompt; None leaves one an image."""
        return self if self.influence is None else replace(self, influence=by_prompt(self.influence, prompts))


def measure_frechet(inputs: MetricInputs) -> Measured:
    gaussian, reference = inputs.moments.gaussian(), inputs.reference_gaussian
    distance = frechet_distance(gaussian, reference)
    if inputs.num_images < _FEWEST_DELETED:
        return Measured(distance)
    features, prompts = inputs.images.features, inputs.sampled_prompts
    influence = frechet_deletions(features, gaussian, reference)
    curvature = frechet_curvature(features, gaussian, reference, direction(influence, prompts))
    share = float(inputs.scaled_to_all(np.ones(1))[0]) ** 2  # of the variance of images held
    return Measured(distance, inputs.scaled_to_all(influence), squared=distance, curvature=share * curvature)


def measure_frechet_infinity(inputs: MetricInputs) -> Measured:
    images = inputs.images
    return Measured(extrapolated_fid(images.features, images.image_ids, inputs.reference_gaussian, seed=inputs.seed))


def measure_kid(inputs: MetricInputs) -> Measured:
    found = kid_and_influence(inputs.compared, inputs.reference_compared, inputs.compared_prompts)
    return Measured(found.value, found.influence, squared=found.squared, curvature=found.curvature)


def measure_cmmd(inputs: MetricInputs) -> Measured:
    images, reference = unit_rows(inputs.compared), unit_rows(inputs.reference_compared)
    found = cmmd_and_influence(images, reference, inputs.compared_prompts)
    return Measured(found.value, found.influence, squared=found.squared, curvature=found.curvature, bias=found.bias)


def measure_mind(inputs: MetricInputs) -> Measured:
    options = (inputs.num_projections, inputs.seed)
    found = mind_and_influence(inputs.compared, inputs.reference_compared, *options)
    weights = direction(found.influence, inputs.prompts_compared)
    curvature = mind_curvature(inputs.compared, inputs.reference_compared, weights, *options)
    return Measured(found.value, found.influence, squared=found.value, curvature=curvature, error=found.error)


def measure_precision(inputs: MetricInputs) -> Measured:
    return replace(_mean_of(inputs.hits.num_around > 0), is_share=True)


def measure_density(inputs: MetricInputs) -> Measured:
    return _mean_of(inputs.hits.num_around / NEAREST_K)


def measure_recall(inputs: MetricInputs) -> Measured:
    return Measured(float(inputs.hits.recalled.mean()))


def measure_coverage(inputs: MetricInputs) -> Measured:
    return Measured(float(inputs.hits.covered.mean()))


def measure_authenticity(inputs: MetricInputs) -> Measured:
    return replace(_mean_of(authentic(inputs.compared, inputs.reference_compared)), is_share=True)


def measure_near_duplicates(inputs: MetricInputs) -> Measured:
    return replace(_mean_of(near_duplicates(inputs.compared, DUPLICATE_COSINE)), is_share=True)


def measure_vendi(inputs: MetricInputs) -> Measured:
    features = inputs.images.features
    score, (influence, bias) = vendi_score(features), vendi_deletions(features, inputs.sampled_prompts)
    return Measured(score, influence, most=float(min(features.shape)), noise=-bias)


def measure_prompt_diversity(inputs: MetricInputs) -> Measured:
    if inputs.prompts is None:
        raise DarkroomError("needs to know which images are of one prompt, and their prompts are not known")
    value, influence = prompt_diversity(inputs.images.features, inputs.prompts)
    return Measured(value, inputs.scaled_to_all(influence))


def measure_clip_score(inputs: MetricInputs) -> Measured:
    cosines = inputs.images.cosines.astype(np.float64)
    if np.isnan(cosines).any():
        raise DarkroomError("needs captions, and the stored features have no cosines with them; use demo_clip or clip")
    influence = inputs.scaled_to_all(centred(image_clip_scores(cosines, inputs.clip_convention)))
    if inputs.totals is None:
        return Measured(clip_score(cosines, inputs.clip_convention), influence)
    means = inputs.totals.cosines / inputs.num_images, inputs.totals.cut_cosines / inputs.num_images
    return Measured(clip_score_of_means(*means, inputs.clip_convention), influence)


def measure_mean_score(inputs: MetricInputs, column: int = 0) -> Measured:
    """Of a scorer, whose features are its scores: the mean of one over the images that it applies to.

    That is a ratio, of the scores' sum to their number, and its influence values are the linearised ones: 0 where the
    score does not apply (Hampel 1974; Fieller and the delta method for ratio estimators, Cochran 1977, chapter 6).
    """
    scores = inputs.images.features[:, column].astype(np.float64)
    known = ~np.isnan(scores)
    if inputs.num_scored(column) < _FEWEST_SCORED or known.sum() < _FEWEST_SCORED:
        raise DarkroomError(
            f"it applies to {inputs.num_scored(column)} of {inputs.num_images:,} images, too few for a figure; render "
            "prompts that it applies to"
        )
    mean = scores[known].mean()
    influence = np.where(known, scores - mean, 0) / known.mean()
    if inputs.totals is not None:
        mean = inputs.totals.moments.mean[column] * inputs.num_images / inputs.num_scored(column)
    is_share = bool(np.isin(scores[known], (0, 1)).all())
    num_draws = None if known.all() else inputs.num_draws_scored(column)
    return Measured(float(mean), inputs.scaled_to_all(influence), is_share, num_draws=num_draws)


def measure_inception_score(inputs: MetricInputs) -> Measured:
    if inputs.logits is None:
        raise DarkroomError("needs the network's class logits; load its weights")
    logits = inputs.logits(inputs.images.features[inputs.in_random_order()])
    return Measured(inception_score(softmax(logits)).mean)


def _mean_of(values: np.ndarray) -> Measured:
    return Measured(float(values.mean()), centred(values))
