"""What to mind about a figure of so many images: a bias that falls with their number, or a ceiling that is reached."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from darkroom.evaluation.frechet import sample_size_warnings, smallest_of_line
from darkroom.evaluation.inputs import NEAREST_K, Measured, MetricInputs
from darkroom.evaluation.reference_free import NUM_SPLITS

_TOLD_BIAS = 0.1  # of the value: a smaller one goes without saying
_IMAGES_A_KIND = 10  # of which Vendi's bias is some 5 %
_USUAL_OF_INCEPTION_SCORE = 50_000  # images
_USUAL_OF_MIND = 5000  # images of either set: what papers state it of
_TOLD_ERROR = 0.05  # of the value: a smaller one goes without saying
_CEILING = 0.95  # of a share
_ONLY = "compare it only among cells of as many images"


@dataclass(frozen=True)
class _Case:
    found: Measured
    inputs: MetricInputs
    dimension: int


def cautions(metric: str, found: Measured, inputs: MetricInputs, dimension: int) -> Iterator[str]:
    """Lines to print beside a figure of features of `dimension`; none where all is well."""
    if metric in _CAUTIONS:
        yield from _CAUTIONS[metric](_Case(found, inputs, dimension))


def _frechet(case: _Case) -> Iterator[str]:
    inputs = case.inputs
    yield from sample_size_warnings(inputs.num_images, inputs.reference_gaussian.count, case.dimension)


def _frechet_infinity(case: _Case) -> Iterator[str]:
    """A covariance of fewer images than dimensions lacks some, and the distance is no line in 1 / N."""
    smallest, fewest = smallest_of_line(case.inputs.num_held), 2 * case.dimension
    if smallest < fewest:
        yield (
            f"its line begins at {smallest:,} images, fewer than twice the {case.dimension:,} feature dimensions, "
            f"where the distance is no line in 1 / N; give {10 * fewest:,}, or state KID"
        )


def _cmmd(case: _Case) -> Iterator[str]:
    found = case.found
    if found.bias > _TOLD_BIAS * abs(found.value):
        yield (
            f"some {found.bias:.1g} of it is a bias of {case.inputs.num_compared:,} images against "
            f"{case.inputs.num_reference_compared:,}, and falls as they get more; {_ONLY}, or state KID"
        )


def _mind(case: _Case) -> Iterator[str]:
    count, found = case.inputs.num_compared, case.found
    if count < _USUAL_OF_MIND:
        yield f"of {count:,} images of either set, and papers state it of {_USUAL_OF_MIND:,}: fewer raise it; {_ONLY}"
    if found.error > _TOLD_ERROR * found.value:
        yield (
            f"its {case.inputs.num_projections:,} directions leave it uncertain by more than {_TOLD_ERROR:.0%}, which "
            "its interval leaves out; give more as mind_num_projections"
        )


def _vendi(case: _Case) -> Iterator[str]:
    count = case.inputs.num_held
    if count < _IMAGES_A_KIND * case.found.value:
        yield f"{count:,} images are fewer than {_IMAGES_A_KIND} for each that it counts: more raise it; {_ONLY}"


def _inception_score(case: _Case) -> Iterator[str]:
    count = case.inputs.num_held
    if count < _USUAL_OF_INCEPTION_SCORE:
        yield (
            f"it grows with the number of images, and papers state it of {_USUAL_OF_INCEPTION_SCORE:,}: each of its "
            f"{NUM_SPLITS} splits has {count // NUM_SPLITS:,}; {_ONLY}"
        )


def _recall(case: _Case) -> Iterator[str]:
    if case.found.value >= _CEILING:
        yield (
            f"near its ceiling of 1, where cells look alike: {case.inputs.num_compared:,} images lie so far apart that "
            "their neighbourhoods hold nearly everything; it falls as they get more"
        )


def _coverage(case: _Case) -> Iterator[str]:
    """Of the reference's own law: some of n are among the k nearest of m - 1 others and these. Naeem et al. 2020."""
    count, others = case.inputs.num_compared, case.inputs.num_reference_compared - 1
    ceiling = 1 - math.prod((others - place) / (count + others - place) for place in range(NEAREST_K))
    if ceiling < _CEILING:
        yield f"of {count:,} images against {others + 1:,} a perfect model has some {ceiling:.2f}; {_ONLY}"


_CAUTIONS: Mapping[str, Callable[[_Case], Iterator[str]]] = {
    "fid": _frechet,
    "frechet": _frechet,
    "fid_infinity": _frechet_infinity,
    "frechet_infinity": _frechet_infinity,
    "cmmd": _cmmd,
    "mind": _mind,
    "vendi": _vendi,
    "inception_score": _inception_score,
    "recall": _recall,
    "coverage": _coverage,
}
