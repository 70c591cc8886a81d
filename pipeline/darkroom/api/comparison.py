"""Compares two runs, or two cells, image by image: is b worse than a by more than chance?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache as once
from functools import partial

from darkroom.api.evaluation import extractor_specs, given_keys
from darkroom.api.evaluation_options import ComparisonOptions
from darkroom.api.events import Noted, PairsCounted, Progress
from darkroom.api.measuring import measured_reference
from darkroom.api.rating import ratings_of
from darkroom.api.run import Run, cell_address, endpoints, open_run
from darkroom.domain.errors import DarkroomError
from darkroom.evaluation import measuring
from darkroom.evaluation.catalogue import definition
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.figure_tables import comparison_table
from darkroom.evaluation.figures import RATERS, Gap, Metric, reference_of
from darkroom.evaluation.gaps import Verdict, differences, num_of_other_noise, paired_metrics, verdict
from darkroom.evaluation.gathering import MOST_HELD, gathered, left_out_lines
from darkroom.evaluation.measuring import figure_name, metric_infos, rank_fault
from darkroom.evaluation.opening import inspect_extractor, load_extractor
from darkroom.evaluation.ratings import METRICS, WIN_RATE, Judgement, rated_gap
from darkroom.evaluation.reference import Reference, ReferenceFeatures
from darkroom.evaluation.reference_free import named_convention
from darkroom.evaluation.reference_opening import open_references
from darkroom.evaluation.resampling import LEVEL
from darkroom.runs.cells import axes
from darkroom.runs.commands import on_run
from darkroom.runs.features import ExtractorInfo, FeaturesMissing, PairedFeatures, paired_features
from darkroom.runs.listing import committed_shards

_DEFAULT = "demo_clip"
_CELLS_SHOWN = 4


@dataclass(frozen=True)
class ComparedCell:
    """One cell of a run."""

    key: str  # a or b
    uri: str  # of the run, as it was given
    run: Run
    cell_id: str


@dataclass(frozen=True)
class Comparison:
    """b against a, metric by metric."""

    a: ComparedCell
    b: ComparedCell
    metrics: Mapping[str, Metric]
    differences: Mapping[str, Gap]  # by the metrics' names
    tolerance: float

    @property
    def verdicts(self) -> dict[str, Verdict]:
        found = self.differences.items()
        return {name: verdict(self.metrics[name], one, self.tolerance) for name, one in found}

    @property
    def worse(self) -> list[str]:
        """Metrics by which b is worse than a, by more than its interval and the tolerance."""
        return [name for name, found in self.verdicts.items() if found is Verdict.WORSE]

    @property
    def table(self) -> str:
        """Both values, their difference with its interval, and the verdict, as plain text."""
        return comparison_table(self.metrics, self.differences, self.tolerance)


def compared_cells(
    a: str | Run, b: str | Run, endpoint_url: str | None, a_cell: str | None = None, b_cell: str | None = None
) -> tuple[ComparedCell, ComparedCell]:
    """Both cells. One of the runs may be a folder, for which there is no endpoint."""
    for_a, for_b = endpoints(endpoint_url, a, b)
    return _compared_cell("a", a, for_a, a_cell), _compared_cell("b", b, for_b, b_cell)


def _compared_cell(key: str, given: str | Run, endpoint_url: str | None, cell_id: str | None) -> ComparedCell:
    """A run that has one cell, or the cell that is named: as an argument, or in `uri#cell_id`."""
    uri, named = cell_address(given) if isinstance(given, str) else (given.uri, None)
    if named:
        if cell_id not in (None, named):
            raise DarkroomError(f"{key}_cell={cell_id}: {key}={given} names another cell; leave one of them out")
        run = open_run(uri, endpoint_url, key)
    else:
        run, named = open_run(given, endpoint_url, key), cell_id
    if named is None and len(run.cells) == 1:
        named = next(iter(run.cells))
    if named is None or named not in run.cells:
        said = given if isinstance(given, str) else given.uri
        problem = f"the run has no cell {named}" if named else f"the run has {len(run.cells)} cells"
        raise DarkroomError(f"{key}={said}: {problem}; write {uri}#<cell_id> with one of {_cells(run)}")
    return ComparedCell(key, uri, run, named)


def compare(a: ComparedCell, b: ComparedCell, options: ComparisonOptions, progress: Progress) -> Comparison:
    """By features that are stored. Raises DarkroomError where images have no features."""
    infos: dict[str, Metric] = {}
    found: dict[str, Gap] = {}
    if a.run.info.policy != b.run.info.policy:
        progress(Noted("a and b were made under different policies: what differs may be how images were chosen"))
    chosen = chosen_metrics(options)
    references = open_references(options.reference, options.reference_endpoint_url) if chosen else {}
    votes = _votes(a, b, options, progress)
    level = 1 - (1 - LEVEL) / (len(chosen) + bool(votes))  # extractors and raters share the chance of a false alarm
    for info, (spec, metrics) in chosen.items():
        images = _images((a, b), info, [each for each, _ in chosen.values()], progress)
        reference = _reference_features(references, metrics, spec, info, progress)
        names = paired_metrics(metrics, info, reference)
        scale, number = options.clip_convention, options.mind_num_projections
        infos |= metric_infos(info, reference, names, scale, number)
        what = (images, "a", info, reference, metrics, scale, options.seed)
        found |= differences(*what, level=level, num_projections=number)["b"]
        pairs = _counted(images)
        for name in names:
            if figure_name(info, name) not in found:
                fault = rank_fault(name, pairs.num_pairs, info)
                progress(Noted(f"{figure_name(info, name)} is left out: {fault}"))
        progress(pairs)
        other_noise = num_of_other_noise(*images.values())
        if other_noise:
            progress(
                Noted(f"{other_noise:,} pairs have different seeds, so they share their prompt and not their noise")
            )
    if votes and (gap := rated_gap(votes, a.cell_id, b.cell_id, options.seed, level)):
        infos[WIN_RATE], found[WIN_RATE] = METRICS[WIN_RATE], replace(gap, base="a")
        progress(Noted(f"{WIN_RATE} is of {len(votes):,} votes on {gap.num_pairs:,} pairs of a and b"))
    return Comparison(a, b, infos, found, options.tolerance)


def chosen_metrics(options: ComparisonOptions) -> dict[ExtractorInfo, tuple[ExtractorSpec, list[str] | None]]:
    """Extractors, each with the metrics that are named of it; with None, all that can be compared, where none is.

    None where the raters' win rate alone is named.
    """
    named_convention(options.clip_convention)
    metrics: dict[str, list[str]] = {}
    for name in options.metrics or ():
        extractor, dot, metric = name.partition(".")
        if extractor == RATERS:
            _check_of_raters(name)
            continue
        if not dot:
            raise DarkroomError(f"metrics: {name} names no extractor; write it like {_DEFAULT}.{name}")
        metrics.setdefault(extractor, []).append(metric)
    if options.metrics and not metrics:
        return {}
    specs = extractor_specs(options.extractors or list(metrics) or [_DEFAULT], "cpu")
    infos = {inspect_extractor(spec): spec for spec in specs}
    missing = metrics.keys() - {info.called for info in infos}
    if missing:
        name = min(missing)
        raise DarkroomError(f"metrics: {name}.{metrics[name][0]} needs {name} among the extractors; add it there")
    return {
        info: (spec, metrics.get(info.called)) for info, spec in infos.items() if not metrics or info.called in metrics
    }


def _check_of_raters(name: str) -> None:
    if name != WIN_RATE:
        raise DarkroomError(f"metrics: no {name!r}; of what raters say two cells are compared by {WIN_RATE}")


def _votes(a: ComparedCell, b: ComparedCell, options: ComparisonOptions, progress: Progress) -> list[Judgement]:
    """On pairs of the two cells, in either run, where they are asked for or nothing is named."""
    is_named = WIN_RATE in (options.metrics or ())
    if options.metrics and not is_named:
        return []
    runs = {run.store.spec: run for run in (a.run, b.run)}.values()
    found = [each for run in runs if (of := ratings_of(run, options.seed, progress)) for each in of.judgements]
    votes = [each for each in found if set(each.cell_ids) == {a.cell_id, b.cell_id}]
    if is_named and not votes:
        raise DarkroomError(
            f"metrics: {WIN_RATE}: no vote on a pair of a={a.uri} and b={b.uri} is stored; have them rated by "
            "`darkroom rate` first"
        )
    return votes


def _cells(run: Run) -> str:
    differing = axes(run.cells.values(), run.info)
    told = []
    for cell_id, info in list(run.cells.items())[:_CELLS_SHOWN]:
        settings = info.settings_in(run.info)
        said = ", ".join(f"{name}={settings[name]}" for name in differing)
        told.append(f"{cell_id} ({said})" if said else cell_id)
    more = [f"{len(run.cells) - _CELLS_SHOWN} more"] if len(run.cells) > _CELLS_SHOWN else []
    return ", ".join(told + more)


def _images(
    cells: Sequence[ComparedCell], info: ExtractorInfo, specs: Sequence[ExtractorSpec], progress: Progress
) -> dict[str, PairedFeatures]:
    """By the cells' keys. Raises DarkroomError for cells that lack features; `specs`: of all that is compared by."""
    found: dict[str, PairedFeatures] = {}
    lacking: list[ComparedCell] = []
    for cell in cells:
        try:
            found[cell.key] = _of_cell(cell, info, progress)
        except FeaturesMissing:
            lacking.append(cell)
    if lacking:
        raise _not_measured(lacking, specs)
    return found


def _of_cell(cell: ComparedCell, info: ExtractorInfo, progress: Progress) -> PairedFeatures:
    shards = committed_shards(cell.run.store, cell.cell_id)
    found = gathered(paired_features(cell.run.store, shards, info.extractor_id, info.dimension))
    for line in left_out_lines(found.left_out, len(found.held.pairs)):
        progress(Noted(f"{cell.key}: {line}"))
    return found.held


def _not_measured(cells: Sequence[ComparedCell], specs: Sequence[ExtractorSpec]) -> DarkroomError:
    """With the commands that measure them."""
    keys = list(map(given_keys, specs))
    extractors = {} if keys == [{"name": _DEFAULT}] else {"extractors": keys}
    commands = dict.fromkeys(on_run("evaluate", cell.run.store.spec, **extractors) for cell in cells)
    named, whose = " and ".join(f"{cell.key}={cell.uri}" for cell in cells), "their" if len(cells) > 1 else "its"
    return DarkroomError(f"{named}: not all of {whose} images have features; run {' and '.join(commands)}")


def _reference_features(
    references: Mapping[str, Reference],
    metrics: Sequence[str] | None,
    spec: ExtractorSpec,
    info: ExtractorInfo,
    progress: Progress,
) -> dict[str, ReferenceFeatures]:
    """By their names, those that some metric is against."""
    chosen = measuring.chosen_metrics(metrics, info, references)
    needed = {reference_of(name) for name in chosen if definition(name, info).needs_reference}
    load = once(partial(load_extractor, spec))
    return {name: measured_reference(each, load, info, progress) for name, each in references.items() if name in needed}


def _counted(images: Mapping[str, PairedFeatures]) -> PairsCounted:
    first, second = (set(each.pairs) for each in images.values())
    most = MOST_HELD if MOST_HELD in (len(first), len(second)) else None
    return PairsCounted(len(first & second), len(first), len(second), most)
