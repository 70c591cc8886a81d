"""The figures of one set of images by one extractor: each metric's value, interval and warnings, and its definition."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.catalogue import checked_metrics, convention, default_metrics, definition
from darkroom.evaluation.cautions import cautions
from darkroom.evaluation.figures import Figure, Metric, kind_of, reference_of
from darkroom.evaluation.gathering import Gathered, left_out_lines
from darkroom.evaluation.inputs import (
    FEWEST_PROMPTS,
    MOST_COMPARED,
    Logits,
    Measured,
    MetricInputs,
    References,
    by_name,
    pair_names,
)
from darkroom.evaluation.reference_free import named_convention
from darkroom.evaluation.resampling import distance_interval, margin, number_interval, share_interval, standard_error
from darkroom.evaluation.sliced_wasserstein import NUM_PROJECTIONS
from darkroom.runs.features import ExtractorInfo, Pair

_ROUNDING = 1e-12  # of a figure
_NAMES_A_NETWORK = ("FID", "FID∞", "Inception score")  # titles that go without their extractor's name


@dataclass(frozen=True, eq=False)
class MeasuredCell:
    """What is left of a cell once its features are let go: its figures, and what gaps are computed from."""

    figures: Mapping[str, Figure]  # by Metric.name
    influence: Mapping[str, np.ndarray]  # by Metric.name, of figures with an interval: (p,) float64, see `resampling`
    pairs: tuple[Pair, ...] = ()  # of the images held, by whose prompts influence values are in order
    shares: frozenset[str] = frozenset()  # Metric.names of figures that are shares of images
    num_draws: Mapping[str, int] = field(default_factory=dict)  # by Metric.name: of fewer than all prompts or images


def measured_cell(
    cell: Gathered,
    extractor: ExtractorInfo,
    reference: References,
    metrics: Sequence[str] | None,
    clip_convention: str,
    seed: int,
    logits: Logits | None = None,
    most_compared: int = MOST_COMPARED,
    num_projections: int = NUM_PROJECTIONS,
) -> MeasuredCell:
    """Measure a cell; the images that are compared are those of the same prompts and samples in every cell.

    `metrics` as `figures_of` takes them. The order of images changes nothing but the last bits.
    """
    held = cell.held
    names, prompts = pair_names(held.pairs), held.prompts
    inputs = MetricInputs(
        images=held.images,
        reference=reference,
        clip_convention=clip_convention,
        seed=seed,
        logits=logits,
        totals=cell.totals,
        names=names,
        left_out=cell.left_out,
        most_compared=most_compared,
        prompts=prompts,
        share_of_prompts=cell.share_of_prompts,
        num_projections=num_projections,
    )
    found = figures_of(inputs, extractor, metrics)
    return replace(found, pairs=held.pairs)


def figures_of(inputs: MetricInputs, extractor: ExtractorInfo, metrics: Sequence[str] | None) -> MeasuredCell:
    """Figures by name; `metrics` without their extractor's name, None for those that the extractor is made for; of
    several references each by its name.

    One that cannot be had is NaN with the reason as its first warning. The seed decides who is in a subset and in a
    resample.
    """
    named_convention(inputs.clip_convention)  # refuse an unknown one before hours of work
    figures: dict[str, Figure] = {}
    ranking: dict[str, Measured] = {}
    for metric in chosen_metrics(metrics, extractor, by_name(inputs.reference)):
        name = figure_name(extractor, metric)
        figures[name], found = _figure(metric, inputs, extractor)
        if found and figures[name].is_ranked:
            ranking[name] = found
    influence = {name: found.influence for name, found in ranking.items() if found.influence is not None}
    shares = frozenset(name for name, found in ranking.items() if found.is_share)
    num_draws = {name: found.num_draws for name, found in ranking.items() if found.num_draws is not None}
    return MeasuredCell(figures, influence, shares=shares, num_draws=num_draws)


def metric_infos(
    extractor: ExtractorInfo,
    reference: References,
    metrics: Sequence[str] | None,
    clip_convention: str,
    num_projections: int = NUM_PROJECTIONS,
) -> dict[str, Metric]:
    """How the figures that `figures_of` gives for the same arguments are defined, by the same names."""
    names = chosen_metrics(metrics, extractor, by_name(reference))
    found = (_defined(name, extractor, reference, clip_convention, num_projections) for name in names)
    return {metric.name: metric for metric in found}


def figure_name(extractor: ExtractorInfo, metric: str) -> str:
    return f"{extractor.called}.{metric}"


def chosen_metrics(metrics: Sequence[str] | None, extractor: ExtractorInfo, references: Collection[str]) -> list[str]:
    """Names as the extractor calls them, with their references' names; the extractor's default ones for None."""
    if metrics is None:
        return default_metrics(extractor, references)
    return checked_metrics(metrics, extractor, references)


def measured(metric: str, inputs: MetricInputs, extractor: ExtractorInfo) -> Measured:
    """One metric by its name, its influence values by prompt.

    A DarkroomError that names the figure where it cannot be computed.
    """
    try:
        if inputs.num_images < 2:
            raise DarkroomError(f"{inputs.num_images} image(s) are too few for a figure; render at least 2")
        defined, inputs = definition(metric, extractor), _view(metric, inputs, extractor)
        prompts = inputs.prompts_compared if defined.is_compared else inputs.sampled_prompts
        return defined.measure(inputs).by_prompt(prompts)
    except DarkroomError as error:
        raise DarkroomError(f"{figure_name(extractor, metric)}: {error}") from error


def _view(metric: str, inputs: MetricInputs, extractor: ExtractorInfo) -> MetricInputs:
    """What the metric takes of the inputs: one reference, and of either set as many images as it needs."""
    found = inputs.against(reference_of(metric))
    return found.even if definition(metric, extractor).is_even else found


def warnings_of(metric: str, found: Measured, inputs: MetricInputs, extractor: ExtractorInfo) -> Iterator[str]:
    """Lines to print beside a figure that was computed."""
    defined, count, inputs = definition(metric, extractor), inputs.num_images, _view(metric, inputs, extractor)
    yield from left_out_lines(inputs.left_out, count)
    if defined.column is not None:
        yield from _not_scored(inputs, defined.column)
    if defined.has_interval and inputs.prompts is not None and inputs.sampled_prompts is None:
        num_prompts = len(set(inputs.prompts))
        yield f"prompts: {num_prompts}, too few for a sample of prompts; its interval is of other images of these"
    if found.influence is not None and not found.is_share and _is_constant(found.influence, found.value):
        yield f"no image of {count:,} differs in it: an interval without width says nothing of other images"
    yield from cautions(kind_of(metric), found, inputs, extractor.dimension)
    if defined.is_compared:
        most = inputs.most_compared
        references = [(" reference", len(inputs.reference_features))] if defined.needs_reference_features else []
        for whose, number in (("", count), *references):
            if number > most:
                yield f"computed from {most:,} of {number:,}{whose} images, chosen by their ids and the seed"
    elif inputs.num_held < count:
        what = "its interval comes" if defined.of_all else "computed"
        yield f"{what} from {inputs.num_held:,} of {count:,} images, chosen by their prompts"
    num_truncated = inputs.totals.num_truncated if inputs.totals else int(inputs.images.truncated.sum())
    if defined.needs_captions and num_truncated:
        of = f"{num_truncated:,} of {count:,} prompts"
        yield f"{of} are longer than {extractor.called} reads; their rest is not judged"


def _is_constant(influence: np.ndarray, value: float) -> bool:
    """But for rounding."""
    return bool(np.abs(influence).max() <= _ROUNDING * abs(value))


def _not_scored(inputs: MetricInputs, column: int) -> Iterator[str]:
    """Of a score that does not apply to all images."""
    count, num_scored = inputs.num_images, inputs.num_scored(column)
    if num_scored == count:
        return
    yield f"does not apply to {count - num_scored:,} of {count:,} images, which count in no mean"
    num_prompts = inputs.num_prompts_scored(column)
    if num_prompts is not None and num_prompts < FEWEST_PROMPTS and inputs.sampled_prompts is not None:
        yield f"applies to images of {num_prompts} prompts, too few for its interval to be trusted"


def rank_fault(metric: str, num_images: int, extractor: ExtractorInfo) -> str:
    """Why a better model cannot be told from a worse one by the metric, with the remedy; empty where it can."""
    fewest = definition(metric, extractor).fewest_ranked(extractor.dimension)
    if num_images >= fewest:
        return ""
    return (
        f"{num_images:,} images in {extractor.dimension:,} dimensions rank models by chance, the worse one "
        f"often first; compare {fewest:,} or more, or by kid"
    )


def _figure(metric: str, inputs: MetricInputs, extractor: ExtractorInfo) -> tuple[Figure, Measured | None]:
    counts = counted(metric, inputs, extractor)
    try:
        found = measured(metric, inputs, extractor)
        low, high = _bounds(found, definition(metric, extractor).lowest)
    except DarkroomError as error:
        reasons = (str(error), *left_out_lines(inputs.left_out, inputs.num_images))
        return Figure(math.nan, None, None, *counts, reasons), None
    warnings = tuple(warnings_of(metric, found, inputs, extractor))
    is_ranked = not rank_fault(metric, inputs.num_images, extractor)
    return Figure(found.value, low, high, *counts, warnings, is_ranked), found


def counted(metric: str, inputs: MetricInputs, extractor: ExtractorInfo) -> tuple[int, int | None]:
    """Images that the figure is computed from, and reference images; None where there are none or it is not known."""
    defined, inputs = definition(metric, extractor), _view(metric, inputs, extractor)
    if defined.column is not None:
        return inputs.num_scored(defined.column), None
    reference = by_name(inputs.reference).get("") if defined.needs_reference else None
    if defined.is_compared:
        is_known = reference is not None and reference.features is not None
        return inputs.num_compared, inputs.num_reference_compared if is_known else None
    count = reference.gaussian.count if reference is not None else None
    return inputs.num_images if defined.of_all else inputs.num_held, count


def _bounds(found: Measured, lowest: float) -> tuple[float | None, float | None]:
    if found.influence is None:
        return None, None
    if found.is_share:
        return share_interval(found.value, found.influence, found.num_draws)
    width = margin(found.influence, num_draws=found.num_draws)
    if found.squared is not None:
        error = standard_error(found.influence)
        curvature = found.curvature * (width / error) ** 2 if error > 0 else 0.0
        low, high = distance_interval(found.value, width, found.squared, curvature)
        return max(lowest, low), high
    if found.most is not None:
        return number_interval(found.value, width, found.most, found.noise)
    return max(lowest, found.value - width), found.value + width


def _defined(
    name: str, extractor: ExtractorInfo, reference: References, clip_convention: str, num_projections: int
) -> Metric:
    defined, named = definition(name, extractor), reference_of(name)
    compared = by_name(reference).get(named) if defined.needs_reference else None
    title = f"{defined.title} against {named}" if named else defined.title
    names_network = defined.title in _NAMES_A_NETWORK and not extractor.alias
    return Metric(
        name=figure_name(extractor, name),
        title=title if names_network else f"{title} ({extractor.called})",
        higher_is_better=defined.higher_is_better,
        convention=convention(defined, clip_convention, num_projections),
        interval=defined.interval,
        extractor=extractor.called,
        extractor_id=extractor.extractor_id,
        weights=extractor.weights,
        resize=extractor.resize,
        reference=compared.name if compared else "",
        reference_digest=compared.digest if compared else "",
        column=defined.column,
    )
