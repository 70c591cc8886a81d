"""How often intervals hold the truth: sets of images of a known law, drawn again and again, and the share of them whose
interval holds the figure that is expected at that size.

A feature is its prompt's centre plus noise, a cosine likewise, so images of one prompt are alike, as a model's are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.evaluation.catalogue import CATALOGUE, default_metrics
from darkroom.evaluation.figures import Gap
from darkroom.evaluation.gaps import differences, gaps
from darkroom.evaluation.gathering import Gathered
from darkroom.evaluation.inputs import ReferenceSet
from darkroom.evaluation.measuring import MeasuredCell, measured_cell, metric_infos
from darkroom.evaluation.moments import FeatureMoments
from darkroom.evaluation.resampling import LEVEL
from darkroom.runs.features import ExtractorInfo, ImageFeatures, PairedFeatures
from tests.evaluation.sets import Known


def extractor(dimension: int) -> ExtractorInfo:
    return ExtractorInfo("demo_clip", "sha256:00", "bicubic 64", dimension, reads_captions=True)


METRICS = (*(name for name in default_metrics(extractor(8), references=[""]) if CATALOGUE[name].has_interval), "mind")
_NUM_REFERENCE = 400
_NUM_PROJECTIONS = 200  # of MIND
_SEED = 0  # of its projections and of the reference images that it takes: its interval is of none of these

Draws = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]  # (n, dimension) of either


def _normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.normal(size=shape)


def _heavy(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Student's t of 5 degrees: a cube, as KID's kernel takes, has no variance."""
    return rng.standard_t(5, shape)


def _clustered(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Two kinds of scenes, 4 spreads apart in every dimension."""
    return rng.normal(size=shape) + rng.choice([-2.0, 2.0], size=(shape[0], 1))


@dataclass(frozen=True)
class Shape:
    """How features are spread, but for how many dimensions there are and how far a model is off."""

    centres: Draws = _normal  # of prompts
    noise: Draws = _normal  # of images of one prompt, twice
    is_round: bool = False  # all dimensions vary alike; else as features of networks do, about a mean far from 0
    is_rectified: bool = False  # what is below 0 is 0, as networks' units have it
    shift: float = 0.3  # of a model from the reference, in units of each dimension's spread; 0: a perfect model


SHAPES: Mapping[str, Shape] = {
    "normal": Shape(),
    "perfect": Shape(shift=0.0),
    "round": Shape(is_round=True),
    "rectified": Shape(is_rectified=True),
    "clusters": Shape(centres=_clustered),
    "heavy": Shape(centres=_heavy, noise=_heavy),
}


@dataclass(frozen=True)
class Law:
    """What sets are drawn from."""

    dimension: int = 8  # of features
    shape: str = "normal"  # a name of SHAPES

    def centres(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, dimension) of prompts, as the reference has them."""
        return SHAPES[self.shape].centres(rng, (count, self.dimension))

    def features(self, centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(n, dimension) float32 of images about (n, dimension) centres."""
        shape = SHAPES[self.shape]
        found = centres + shape.noise(rng, centres.shape) / 2
        if not shape.is_round:
            found = found * np.geomspace(1, 0.05, self.dimension) + 1.5 * (np.arange(self.dimension) < 3)
        return np.maximum(found, 0 if shape.is_rectified else -np.inf).astype(np.float32)


def real(law: Law, seed: int = 999) -> ReferenceSet:
    """Of independent scenes."""
    rng = np.random.default_rng(seed)
    features = law.features(law.centres(_NUM_REFERENCE, rng), rng)
    ids = tuple(f"real {row}" for row in range(_NUM_REFERENCE))
    return Known("real", "d" * 64, ids, features, FeatureMoments.of(features).gaussian())


def cells(law: Law, counts: Sequence[int], num_cells: int, seed: int) -> dict[str, PairedFeatures]:
    """Equally good ones: images of the same prompts, `counts` of each, whose noise has a part in common."""
    rng = np.random.default_rng(seed)
    pairs = tuple((f"p{row}", sample) for row, count in enumerate(counts) for sample in range(count))
    rows = np.repeat(np.arange(len(counts)), counts)
    centres = SHAPES[law.shape].shift + law.centres(len(counts), rng)[rows]
    hardness = rng.normal(0.3, 0.1, len(counts))[rows]
    noise = SHAPES[law.shape].noise(rng, (len(pairs), law.dimension)) / 2
    found = {}
    for number in range(num_cells):
        features = law.features(centres + noise, rng)
        cosines = (hardness + rng.normal(0, 0.1, len(pairs))).clip(-1, 1).astype(np.float32)
        ids = tuple(f"cell {number} image {row}" for row in range(len(pairs)))
        images = ImageFeatures(ids, features, cosines, np.zeros(len(pairs), bool))
        found[f"cell {number}"] = PairedFeatures(pairs, images)
    return found


@dataclass(frozen=True)
class Coverage:
    """Of one metric, in shares of the sets drawn."""

    of_figure: float  # intervals of a figure that hold the one expected
    of_gap: float  # intervals of the difference of two equal cells that hold 0


def coverage(
    law: Law, counts: Sequence[int], num_sets: int, metrics: Sequence[str] = METRICS, first_seed: int = 0
) -> dict[str, Coverage]:
    """By metric, of `num_sets` sets with so many images a prompt."""
    reference = real(law)
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in metrics}
    holds: dict[str, list[bool]] = {name: [] for name in metrics}
    for seed in range(first_seed, first_seed + num_sets):
        both = cells(law, counts, 2, seed)
        first = _measured(both["cell 0"], law, reference, metrics)
        found = _differences(both, law, reference, metrics, level=None)
        for name in metrics:
            figure, gap = first.figures[f"demo_clip.{name}"], found[f"demo_clip.{name}"]
            figures[name].append((figure.value, figure.low, figure.high))
            holds[name].append(not gap.is_told_apart)
    return {name: Coverage(_share_that_hold(figures[name]), float(np.mean(holds[name]))) for name in metrics}


def coverage_of_figures(law: Law, counts: Sequence[int], num_sets: int, metrics: Sequence[str]) -> dict[str, float]:
    """By metric, without the gaps' measurement: the share of intervals that hold the figure expected."""
    reference, found = real(law), []
    for seed in range(num_sets):
        found.append(_measured(cells(law, counts, 1, seed)["cell 0"], law, reference, metrics).figures)
    by_name = {name: [figures[f"demo_clip.{name}"] for figures in found] for name in metrics}
    return {
        name: _share_that_hold([(figure.value, figure.low, figure.high) for figure in figures])
        for name, figures in by_name.items()
    }


def _share_that_hold(figures: Sequence[tuple[float, float | None, float | None]]) -> float:
    values, lows, highs = np.array(figures).T
    return float(((lows <= values.mean()) & (values.mean() <= highs)).mean())


@dataclass(frozen=True)
class FalseAlarms:
    """Shares of sweeps, or comparisons, of equal cells in which some difference is told apart."""

    of_sweep: Mapping[str, float]  # by metric: some cell from the best
    of_comparison: float  # two cells by some metric


def false_alarms(
    law: Law, counts: Sequence[int], num_cells: int, num_sets: int, metrics: Sequence[str] = METRICS
) -> FalseAlarms:
    """Of sweeps of `num_cells` cells, and of the first two of each."""
    reference, info = real(law), extractor(law.dimension)
    infos = metric_infos(info, reference, metrics, "hessel")
    swept: dict[str, list[bool]] = {name: [] for name in metrics}
    compared = []
    for seed in range(num_sets):
        found = cells(law, counts, num_cells, seed)
        measured = {cell_id: _measured(cell, law, reference, metrics) for cell_id, cell in found.items()}
        by_cell = gaps(measured, infos, seed, _never).values()
        for name, told_apart in swept.items():
            found_gaps = (by_name.get(f"demo_clip.{name}") for by_name in by_cell)  # the best cell has none
            told_apart.append(any(gap.is_told_apart for gap in found_gaps if gap))
        two = {cell_id: found[cell_id] for cell_id in ("cell 0", "cell 1")}
        both = _differences(two, law, reference, metrics)
        compared.append(any(gap.is_told_apart for gap in both.values()))
    return FalseAlarms({name: float(np.mean(of_metric)) for name, of_metric in swept.items()}, float(np.mean(compared)))


def _measured(cell: PairedFeatures, law: Law, reference: ReferenceSet, metrics: Sequence[str]) -> MeasuredCell:
    info = extractor(law.dimension)
    return measured_cell(Gathered(cell), info, reference, metrics, "hessel", _SEED, num_projections=_NUM_PROJECTIONS)


def _differences(
    both: Mapping[str, PairedFeatures],
    law: Law,
    reference: ReferenceSet,
    metrics: Sequence[str],
    level: float | None = LEVEL,
) -> Mapping[str, Gap]:
    info = extractor(law.dimension)
    found = differences(
        both, "cell 0", info, reference, metrics, "hessel", _SEED, level=level, num_projections=_NUM_PROJECTIONS
    )
    return found["cell 1"]


def _never(base: str, cell_id: str, names: Sequence[str]) -> dict[str, Gap]:
    raise AssertionError("cells of the same images are not measured again")
