"""Images that are copies of a reference's: each image's nearest reference image, and the share that is as near as one.

Of training images this shows memorisation: Carlini et al. 2023 and Somepalli et al. 2023 find copies as pairs above a
similarity. Which similarity means a copy depends on the extractor: look at the pictures.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.figures import Figure, Figures, Gap, Gaps, Metric
from darkroom.evaluation.gaps import gaps
from darkroom.evaluation.gathering import left_out_lines
from darkroom.evaluation.measuring import MeasuredCell
from darkroom.evaluation.moments import tiles, unit_rows
from darkroom.evaluation.paired_comparisons import Comparisons, win_rates
from darkroom.evaluation.ratings import numbered
from darkroom.evaluation.tables import Table, text_table
from darkroom.runs.features import ExtractorInfo, Pair, PairedFeatures

_PROMPT_SHOWN = 60  # characters
_ROUNDING = 1e-9  # of a cosine: that of equal images may be a little less than 1


@dataclass(frozen=True)
class Match:
    """An image and its nearest reference image."""

    cosine: float
    cell_id: str
    image_id: str
    prompt: str
    reference_id: str  # SHA-256 of that image's content


@dataclass(frozen=True, eq=False)
class CellMatches:
    """Of one cell's images."""

    matches: tuple[Match, ...]
    pairs: tuple[Pair, ...]
    warnings: tuple[str, ...] = ()


def cell_matches(
    cell_id: str, parts: Iterable[PairedFeatures], reference: np.ndarray, reference_ids: Sequence[str]
) -> CellMatches:
    """Every image of a cell, whose features come part by part, beside (m, d) features of unit length."""
    matches: list[Match] = []
    pairs: list[Pair] = []
    left_out: Counter[str] = Counter()
    for part in parts:
        check_directions(part.images.features, part.images.image_ids, "image")
        cosines, rows = nearest(part.images.features, reference) if part.pairs else (np.zeros(0), np.zeros(0, int))
        found = zip(cosines.tolist(), part.images.image_ids, part.prompts, rows.tolist(), strict=True)
        matches += [Match(value, cell_id, name, prompt, reference_ids[row]) for value, name, prompt, row in found]
        pairs += part.pairs
        left_out.update(part.left_out)
    return CellMatches(tuple(matches), tuple(pairs), tuple(left_out_lines(left_out, len(matches))))


def check_directions(features: np.ndarray, names: Sequence[str], what: str) -> None:
    """Raises DarkroomError that names the first of n images whose row of (n, d) features is all zeros."""
    if not (has := features.any(axis=1)).all():
        raise DarkroomError(
            f"{what} {names[int(has.argmin())]}: its features are all zeros, so that nothing is near it; take another "
            "extractor, or leave the image out"
        )


def nearest(features: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) greatest cosine of (n, d) features with (m, d) of unit length, and (n,) rows of the latter."""
    unit = unit_rows(features)
    cosines, rows = np.full(len(unit), -np.inf), np.zeros(len(unit), dtype=np.int64)
    for own, others, left, right in tiles(unit, reference):
        products = left @ right.T
        closest = products.argmax(axis=1)
        values = products[np.arange(len(closest)), closest]
        is_closer = values > cosines[own]
        cosines[own][is_closer] = values[is_closer]
        rows[own][is_closer] = others.start + closest[is_closer]
    return cosines, rows


def closest(cells: Iterable[CellMatches], count: int) -> list[Match]:
    """Of all cells together, the nearest first, at most one of each prompt and reference image."""
    best: dict[tuple[str, str], Match] = {}
    for match in (match for cell in cells for match in cell.matches):
        key = match.prompt, match.reference_id
        if key not in best or match.cosine > best[key].cosine:
            best[key] = match
    return nlargest(count, best.values(), key=lambda match: (match.cosine, match.image_id))


def copies_metric(extractor: ExtractorInfo, cosine: float, reference: str, reference_digest: str) -> Metric:
    return Metric(
        name=f"{extractor.called}.copies",
        title=f"Copies ({extractor.called})",
        higher_is_better=False,
        convention=f"share of images whose nearest reference image has a cosine of {cosine:g} or more",
        interval="95 % of Student's, from images added up by prompt, and four added ones, Agresti and Coull 1998; the "
        "reference is taken as fixed",
        extractor=extractor.called,
        extractor_id=extractor.extractor_id,
        weights=extractor.weights,
        resize=extractor.resize,
        reference=reference,
        reference_digest=reference_digest,
    )


def measured_copies(
    cells: Mapping[str, CellMatches], metric: Metric, cosine: float, num_reference: int, seed: int
) -> tuple[dict[str, Figures], Gaps]:
    """Figures and gaps by cell_id and Metric.name, of cells that have images."""
    having = {cell_id: found for cell_id, found in cells.items() if found.pairs}
    measured = {cell_id: _measured(found, metric, cosine, num_reference) for cell_id, found in having.items()}
    found = gaps(measured, {metric.name: metric}, seed, _not_shared)
    return {cell_id: cell.figures for cell_id, cell in measured.items()}, found


def _measured(found: CellMatches, metric: Metric, cosine: float, num_reference: int) -> MeasuredCell:
    hits = np.array([float(match.cosine >= cosine - _ROUNDING) for match in found.matches])
    prompts = numbered(match.prompt for match in found.matches)
    estimates = win_rates(Comparisons(np.zeros(len(hits), int), np.ones(len(hits), int), hits, prompts, 2))
    share = estimates.interval(0, 0.0, 1.0)
    figure = Figure(share.estimate, share.low, share.high, len(hits), num_reference, found.warnings)
    return MeasuredCell({metric.name: figure}, {metric.name: estimates.influence[:, 0]}, found.pairs)


def _not_shared(base: str, cell_id: str, names: Sequence[str]) -> Mapping[str, Gap]:
    raise DarkroomError(f"{names[0]}: cells {base} and {cell_id} hold other images")


def matches_table(matches: Sequence[Match], names: Mapping[str, str]) -> str:
    """`names`: where reference images lie, by their ids."""
    rows = [
        [
            match.image_id,
            " ".join(match.prompt.split())[:_PROMPT_SHOWN],
            names.get(match.reference_id, "?"),
            f"{match.cosine:.4f}",
        ]
        for match in matches
    ]
    return text_table(Table(["image", "prompt", "nearest reference image", "cosine"], rows, num_left=3))


def wanted_in(matches: Iterable[Match], ids: Sequence[str]) -> Iterator[int]:
    """Places of a block's images that are somebody's nearest."""
    needed = {match.reference_id for match in matches}
    return (place for place, name in enumerate(ids) if name in needed)
