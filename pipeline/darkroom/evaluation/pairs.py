"""Differences between cells, image by image: pairs share their prompt and, of one seed, their noise, which cancels out.

The difference of two cells shows in this way long before their own intervals part. Of different seeds the prompt alone
cancels out, and the interval, whose resamples are of pairs, is as much wider. Knows no store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.catalogue import CATALOGUE, checked_metrics, default_metrics
from darkroom.evaluation.figures import cautions, figure_name, measured
from darkroom.evaluation.measures import Measured
from darkroom.evaluation.sides import Reference, Sides, pair_names
from darkroom.features.extractor import ExtractorInfo
from darkroom.metrics.bootstrap import paired_interval
from darkroom.runs.features import ImageFeatures
from darkroom.runs.scored import Pair, ScoredImages


@dataclass(frozen=True)
class Difference:
    """One metric of a cell against a baseline's, both over the images that have a partner."""

    baseline: float
    value: float
    low: float  # ends of the 95 % interval of value - baseline
    high: float
    num_pairs: int
    warnings: tuple[str, ...] = ()

    @property
    def difference(self) -> float:
        return self.value - self.baseline


def differences(
    cells: Mapping[str, ScoredImages],
    baseline: str,
    extractor: ExtractorInfo,
    reference: Reference | None,
    metrics: Sequence[str] | None,
    clip_convention: str,
    seed: int,
) -> dict[str, dict[str, Difference]]:
    """Of every cell but the baseline: figure's name -> difference from it. Cells by cell_id, all by one extractor.

    `metrics` stand without their extractor's name; None takes those that the extractor is made for and that have an
    interval. The interval is a bootstrap over pairs of both sides' shares (see `measures.Measured`), the same resample
    for either. Raises DarkroomError where a metric has no interval or cannot be computed, or where nothing pairs.
    """
    names = paired_metrics(metrics, extractor, reference)
    found = {}
    known: dict[tuple[str, ...], dict[str, Measured]] = {}  # of the baseline; most often every cell pairs with all
    for cell_id, cell in cells.items():
        if cell_id != baseline:
            sides = [Sides(images, reference, clip_convention, seed) for images in aligned(cells[baseline], cell)]
            pair_ids = sides[0].images.image_ids
            if pair_ids not in known:
                known[pair_ids] = {name: measured(name, sides[0], extractor) for name in names}
            found[cell_id] = {
                figure_name(extractor, name): _difference(name, known[pair_ids][name], sides[1], extractor)
                for name in names
            }
    return found


def paired_metrics(metrics: Sequence[str] | None, extractor: ExtractorInfo, reference: Reference | None) -> list[str]:
    """Names as the extractor calls them. A DarkroomError for a named one that has no interval to compare by."""
    if metrics is None:
        return [name for name in default_metrics(extractor, reference is not None) if CATALOGUE[name].has_interval]
    names = checked_metrics(metrics, extractor)
    for name in names:
        if not CATALOGUE[name].has_interval:
            can = ", ".join(other for other, definition in CATALOGUE.items() if definition.has_interval)
            raise DarkroomError(f"metrics: {name} has no interval to compare by; take {can}")
    return names


def aligned(first: ScoredImages, second: ScoredImages) -> tuple[ImageFeatures, ImageFeatures]:
    """The images of both that have a partner, row by row in one order, named by their pair and no more by themselves.

    Raises DarkroomError where none has, or where a set holds a pair's image twice.
    """
    rows, other_rows = _places(first.pairs), _places(second.pairs)
    shared = sorted(rows.keys() & other_rows.keys())
    if not shared:
        found = f"{len(rows):,} and {len(other_rows):,} images"
        raise DarkroomError(f"pairs: of {found} no two share prompt_id and sample_index; render both from one dataset")
    names = pair_names(shared)
    return (
        replace(first.images.taken([rows[pair] for pair in shared]), image_ids=names),
        replace(second.images.taken([other_rows[pair] for pair in shared]), image_ids=names),
    )


def num_of_other_noise(first: ScoredImages, second: ScoredImages) -> int:
    """Pairs that share their prompt and not their noise, since their seeds differ."""
    seeds = dict(zip(first.pairs, first.seeds, strict=False))
    return sum(seeds.get(pair, seed) != seed for pair, seed in zip(second.pairs, second.seeds, strict=False))


def _places(pairs: Sequence[Pair]) -> dict[Pair, int]:
    places = {pair: place for place, pair in enumerate(pairs)}
    if len(places) < len(pairs):
        raise DarkroomError(
            f"pairs: {len(pairs):,} images of {len(places):,} prompt_ids and sample_indexes; compare one cell at a time"
        )
    return places


def _difference(name: str, baseline: Measured, sides: Sides, extractor: ExtractorInfo) -> Difference:
    found = measured(name, sides, extractor)
    assert found.shares is not None
    assert baseline.shares is not None
    around = paired_interval(found.shares, baseline.shares, seed=sides.seed)
    shift = found.value - baseline.value
    return Difference(
        baseline=baseline.value,
        value=found.value,
        low=shift + around.low,
        high=shift + around.high,
        num_pairs=len(found.shares),
        warnings=tuple(cautions(name, sides, extractor)),
    )
