"""Figures of one set of images by one extractor, and how each is defined. Knows metrics by the catalogue alone.

A figure is called by its extractor and its metric, such as demo_clip.clip_score.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.catalogue import CATALOGUE, checked_metrics, convention, default_metrics
from darkroom.evaluation.gathering import left_out_lines
from darkroom.evaluation.measures import Measured
from darkroom.evaluation.sides import MOST_COMPARED, Reference, Sides
from darkroom.features.extractor import ExtractorInfo
from darkroom.metrics.bootstrap import mean_interval
from darkroom.metrics.sample_size import sample_size_warnings
from darkroom.runs.evaluations import CellFigure, MetricInfo

_NAMES_A_NETWORK = ("FID", "FID∞", "Inception score")  # titles that go without their extractor's name


@dataclass(frozen=True, eq=False)
class MeasuredFigure:
    """A figure, and what the difference from another set's is computed from (see `measures.Measured`)."""

    figure: CellFigure
    shares: np.ndarray | None = None


def figures_of(sides: Sides, extractor: ExtractorInfo, metrics: Sequence[str] | None) -> dict[str, MeasuredFigure]:
    """Figures by name; `metrics` without their extractor's name, None for the extractor's own choice.

    One that cannot be had is NaN with the reason as its first warning. The seed decides who is in a subset and in a
    resample; the order of images changes nothing but the last bits.
    """
    convention("clip_score", sides.clip_convention)  # refuse an unknown one before hours of work
    return {
        figure_name(extractor, name): _figure(name, sides, extractor)
        for name in _chosen(metrics, extractor, sides.reference)
    }


def metric_infos(
    extractor: ExtractorInfo, reference: Reference | None, metrics: Sequence[str] | None, clip_convention: str
) -> dict[str, MetricInfo]:
    """How the figures that `figures_of` gives for the same arguments are defined, by the same names."""
    found = (_info(name, extractor, reference, clip_convention) for name in _chosen(metrics, extractor, reference))
    return {info.name: info for info in found}


def figure_name(extractor: ExtractorInfo, metric: str) -> str:
    return f"{extractor.name}.{metric}"


def measured(name: str, sides: Sides, extractor: ExtractorInfo) -> Measured:
    """One metric by its name. A DarkroomError that names the figure where it cannot be computed."""
    try:
        if sides.num_images < 2:
            raise DarkroomError(f"{sides.num_images} image(s) are too few for a figure; render at least 2")
        return CATALOGUE[name].measure(sides)
    except DarkroomError as error:
        raise DarkroomError(f"{figure_name(extractor, name)}: {error}") from error


def cautions(name: str, sides: Sides, extractor: ExtractorInfo) -> Iterable[str]:
    """Lines to print beside a figure that was computed."""
    definition, count = CATALOGUE[name], sides.num_images
    yield from left_out_lines(sides.left_out, count)
    if name in ("fid", "frechet"):
        yield from sample_size_warnings(count, sides.gaussian.count, extractor.dimension)
    if definition.needs_reference_features:
        yield from _thinned(count, len(sides.reference_features))
    elif (held := len(sides.images.image_ids)) < count:
        what = "its interval comes" if definition.of_all else "computed"
        yield f"{what} from {held:,} of {count:,} images, chosen by their prompts"
    cut = sides.totals.num_truncated if sides.totals else int(sides.images.truncated.sum())
    if definition.needs_captions and cut:
        yield f"{cut:,} of {count:,} prompts are longer than {extractor.name} reads; their rest is not judged"


def _thinned(count: int, num_reference: int) -> Iterable[str]:
    for whose, number in (("", count), (" reference", num_reference)):
        if number > MOST_COMPARED:
            yield f"computed from {MOST_COMPARED:,} of {number:,}{whose} images, chosen by their ids and the seed"


def _chosen(metrics: Sequence[str] | None, extractor: ExtractorInfo, reference: Reference | None) -> list[str]:
    if metrics is None:
        return default_metrics(extractor, reference is not None)
    return checked_metrics(metrics, extractor)


def _figure(name: str, sides: Sides, extractor: ExtractorInfo) -> MeasuredFigure:
    counts = _counts(name, sides)
    try:
        found = measured(name, sides, extractor)
        bounds = _bounds(found, CATALOGUE[name].lowest, sides.seed)
    except DarkroomError as error:
        reasons = (str(error), *left_out_lines(sides.left_out, sides.num_images))
        return MeasuredFigure(CellFigure(math.nan, None, None, *counts, reasons))
    figure = CellFigure(found.value, *bounds, *counts, tuple(cautions(name, sides, extractor)))
    return MeasuredFigure(figure, found.shares)


def _counts(name: str, sides: Sides) -> tuple[int, int | None]:
    """Images that the figure is computed from, and reference images; None where there are none or nobody knows."""
    definition = CATALOGUE[name]
    if definition.needs_reference_features:
        known = sides.reference is not None and sides.reference.features is not None
        return sides.num_compared, sides.num_reference_compared if known else None
    count = sides.reference.gaussian.count if definition.needs_reference and sides.reference is not None else None
    return sides.num_images if definition.of_all else len(sides.images.image_ids), count


def _bounds(found: Measured, lowest: float, seed: int) -> tuple[float | None, float | None]:
    if found.shares is None:
        return None, None
    around = mean_interval(found.shares, seed=seed)
    return max(lowest, found.value + around.low), max(lowest, found.value + around.high)


def _info(name: str, extractor: ExtractorInfo, reference: Reference | None, clip_convention: str) -> MetricInfo:
    definition = CATALOGUE[name]
    compared = reference if definition.needs_reference else None
    title = definition.title
    return MetricInfo(
        name=figure_name(extractor, name),
        title=title if title in _NAMES_A_NETWORK else f"{title} ({extractor.name})",
        higher_is_better=definition.higher_is_better,
        convention=convention(name, clip_convention),
        interval=definition.interval,
        extractor=extractor.name,
        extractor_id=extractor.extractor_id,
        weights=extractor.weights,
        resize=extractor.resize,
        reference=compared.name if compared else "",
        reference_digest=compared.digest if compared else "",
    )
