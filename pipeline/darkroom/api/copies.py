"""Looks for copies of a reference's images among a run's, and shows the nearest pairs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from darkroom.api.evaluation import extractor_specs, given_keys
from darkroom.api.evaluation_options import CopiesOptions
from darkroom.api.events import Noted, Progress
from darkroom.api.measuring import measured_reference
from darkroom.api.run import Run, check_writable
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.evaluation.copies import (
    CellMatches,
    Match,
    cell_matches,
    check_directions,
    closest,
    copies_metric,
    matches_table,
    measured_copies,
    wanted_in,
)
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.figure_tables import figures_table
from darkroom.evaluation.figures import Evaluation, Figure, Gap, Metric, put_evaluation
from darkroom.evaluation.moments import unit_rows
from darkroom.evaluation.opening import inspect_extractor, load_extractor
from darkroom.evaluation.reference import (
    ImageFile,
    Images,
    Reference,
    ReferenceFeatures,
    ReferenceSpec,
    decode,
)
from darkroom.evaluation.reference_opening import open_reference
from darkroom.reporting.pictures import pairs_sheet, read_rows
from darkroom.reporting.sampling import ImageRef
from darkroom.runs.bulk import read_each
from darkroom.runs.cells import dropped_cells
from darkroom.runs.commands import on_run
from darkroom.runs.features import ExtractorInfo, FeaturesMissing, PairedFeatures, paired_features
from darkroom.runs.files import copies_key
from darkroom.runs.images import stored_files
from darkroom.runs.listing import committed_shards
from darkroom.runs.reading import present_images


@dataclass(frozen=True)
class Nearest:
    """The nearest pairs in one extractor's space."""

    closest: Sequence[Match]  # the nearest first
    reference_names: Mapping[str, str]  # by reference_id: where that image lies
    picture: str  # the place of a sheet of these pairs, image beside reference image


@dataclass(frozen=True)
class Copies:
    """What was found; `evaluation.cells[cell_id]["clip.copies"]` are the shares."""

    run: Run
    evaluation: Evaluation
    nearest: Sequence[Nearest]  # one an extractor

    @property
    def table(self) -> str:
        """Shares with their intervals, then the nearest pairs, as plain text."""
        found, cells = self.evaluation, self.run.cells
        settings = {cell_id: info.settings_in(self.run.info) for cell_id, info in cells.items()}
        shares = figures_table(found.metrics, found.cells, settings, found.gaps)
        return "\n\n".join([shares, *(matches_table(each.closest, each.reference_names) for each in self.nearest)])


def find_copies(run: Run, options: CopiesOptions, progress: Progress) -> Copies:
    """By features that are stored, of every image of every cell. Raises DarkroomError where some have none."""
    specs = extractor_specs(options.extractors, "cpu")
    infos = [_checked(inspect_extractor(spec)) for spec in specs]
    reference = open_reference(ReferenceSpec(options.reference, options.reference_endpoint_url))
    if not isinstance(reference.source, Images):
        raise DarkroomError(f"reference={reference.name} holds statistics alone; give the images themselves")
    check_writable(run)
    cells = _cells(run)
    metrics: dict[str, Metric] = {}
    figures: dict[str, dict[str, Figure]] = {cell_id: {} for cell_id in cells}
    gaps: dict[str, dict[str, Gap]] = {cell_id: {} for cell_id in cells}
    nearest = []
    for spec, info in zip(specs, infos, strict=True):
        features = measured_reference(reference, partial(load_extractor, spec), info, progress)
        matches = _matches(run, cells, spec, info, features)
        metric = copies_metric(info, options.cosine, features.name, features.digest)
        metrics[metric.name] = metric
        own, differences = measured_copies(matches, metric, options.cosine, len(features.ids), options.seed)
        for cell_id in own:
            figures[cell_id] |= own[cell_id]
            gaps[cell_id] |= differences[cell_id]
        found = closest(matches.values(), options.num_pairs)
        nearest.append(_shown(run, reference, found, digest(info.extractor_id, features.digest, length=16), progress))
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    evaluation = Evaluation(now, metrics, figures, gaps, images=present_images(run.store))
    key = digest("evaluation", "copies", [info.extractor_id for info in infos], options.reference)
    put_evaluation(run.store, key, evaluation)
    return Copies(run, evaluation, nearest)


def _checked(info: ExtractorInfo) -> ExtractorInfo:
    if info.is_scorer:
        raise DarkroomError(f"extractors: the numbers of {info.called} are scores, and no picture's place; take clip")
    return info


def _matches(
    run: Run, cells: Sequence[str], spec: ExtractorSpec, info: ExtractorInfo, features: ReferenceFeatures
) -> dict[str, CellMatches]:
    """By cell_id."""
    assert features.features is not None  # since the reference has images
    check_directions(features.features, features.ids, f"reference={features.name}: image of SHA-256")
    unit = unit_rows(features.features)
    try:
        return {cell_id: cell_matches(cell_id, _features(run, cell_id, info), unit, features.ids) for cell_id in cells}
    except FeaturesMissing:
        command = on_run("evaluate", run.store.spec, extractors=[given_keys(spec)])
        raise DarkroomError(f"run={run.uri}: not all of its images have features; run {command}") from None


def _features(run: Run, cell_id: str, info: ExtractorInfo) -> Iterator[PairedFeatures]:
    shards = committed_shards(run.store, cell_id)
    return paired_features(run.store, shards, info.extractor_id, info.dimension)


def _shown(run: Run, reference: Reference, found: Sequence[Match], name: str, progress: Progress) -> Nearest:
    files = _reference_files(reference, found)
    run.store.put(copies_key(name), _sheet(run, found, files, progress), "image/png")
    names = {reference_id: file.name for reference_id, file in files.items()}
    return Nearest(found, names, run.store.describe(copies_key(name)))


def _cells(run: Run) -> list[str]:
    """Those with images that were not dropped early."""
    having, dropped = present_images(run.store), dropped_cells(run.store)
    if not having:
        raise DarkroomError(f"{run.store.describe()}: no image is committed; render it first")
    return [cell_id for cell_id in run.cells if cell_id in having and cell_id not in dropped]


def _reference_files(reference: Reference, matches: Sequence[Match]) -> dict[str, ImageFile]:
    """The reference images of these pairs, by their ids; blocks without one are not read."""
    assert isinstance(reference.source, Images)
    found: dict[str, ImageFile] = {}
    for block in reference.source.blocks():
        if places := set(wanted_in(matches, block.ids)):
            found |= {block.ids[place]: file for place, file in enumerate(block.files()) if place in places}
    return found


def _places(run: Run, matches: Sequence[Match]) -> Iterator[ImageRef]:
    """Where the images' records lie."""
    wanted = {match.image_id for match in matches}
    for cell_id in sorted({match.cell_id for match in matches}):
        for shard, table in read_each(run.store, committed_shards(run.store, cell_id), ["image_id"]):
            for index, image_id in enumerate(table["image_id"].to_pylist()):
                if image_id in wanted:
                    yield ImageRef(image_id, "", 0, shard, index)


def _sheet(run: Run, matches: Sequence[Match], shown: dict[str, ImageFile], progress: Progress) -> bytes:
    """PNG; a pair of which an image cannot be read is left out, and said."""
    found = read_rows(run.store, _places(run, matches))
    rows = []
    for match in matches:
        [file] = stored_files(run.store, [found[match.image_id].record])
        try:
            rows.append((file.pixels(), decode(shown[match.reference_id]), f"{match.cosine:.3f} {match.prompt}"))
        except (DarkroomError, KeyError) as error:
            progress(Noted(f"not on the sheet: image {match.image_id}: {error}"))
    return pairs_sheet(rows)
