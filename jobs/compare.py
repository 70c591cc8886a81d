"""Compare two scored runs image by image; exit code 1 where a metric of b is worse than a's by more than chance."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from omegaconf import DictConfig

from darkroom.domain.errors import DarkroomError
from darkroom.features.extractor import ExtractorInfo, ExtractorSpec
from darkroom.features.opening import inspect_extractor, load_extractor
from darkroom.features.reference import ReferenceFeatures, ReferenceSpec
from darkroom.features.reference_measuring import default_cache, reference_features
from darkroom.features.reference_opening import open_reference
from darkroom.jobs.exits import ExitCode
from darkroom.jobs.extractors import extractor_specs
from darkroom.jobs.runs import OpenedRun, open_at
from darkroom.metrics.catalogue import convention
from darkroom.metrics.figure_tables import comparison_table
from darkroom.metrics.figures import Gap, Metric
from darkroom.metrics.gaps import Verdict, differences, num_of_other_noise, paired_metrics, verdict
from darkroom.metrics.gathering import MOST_HELD, gathered, left_out_lines
from darkroom.metrics.measuring import metric_infos
from darkroom.runs import manifest
from darkroom.runs.cells import axes
from darkroom.runs.commands import on_run
from darkroom.runs.features import FeaturesMissing, PairedFeatures, paired_features

_CELL = re.compile(r"(.+)#([0-9a-f]{16})")
_DEFAULT = "demo_clip"
_CELLS_SHOWN = 4


@dataclass(frozen=True)
class Side:
    """One cell of a run, as the command names it."""

    key: str  # a or b
    uri: str  # of the run, as it was given
    run: OpenedRun
    cell_id: str


def run(config: DictConfig) -> int:
    _check(config)
    wanted = _wanted(config)
    sides = [_side("a", config.a, config.endpoint_url), _side("b", config.b, config.endpoint_url)]
    infos: dict[str, Metric] = {}
    found: dict[str, Gap] = {}
    for info, (spec, metrics) in wanted.items():
        images = {side.key: _images(side, spec, info) for side in sides}
        reference = _reference(config, spec, info)
        names = paired_metrics(metrics, info, reference)
        scale = config.clip_convention
        infos |= metric_infos(info, reference, names, scale)
        found |= differences(images, "a", info, reference, names, scale, config.seed)["b"]
        _say_pairs(images)
    print(comparison_table(infos, found, config.tolerance))
    return _judged(infos, found, config.tolerance)


def _check(config: DictConfig) -> None:
    convention("clip_score", config.clip_convention)


def _wanted(config: DictConfig) -> dict[ExtractorInfo, tuple[ExtractorSpec, list[str] | None]]:
    """Extractors, each with the metrics that are named of it; with None, all that can be compared, where none is."""
    metrics: dict[str, list[str]] = {}
    for name in config.metrics or ():
        extractor, dot, metric = name.partition(".")
        if not dot:
            raise DarkroomError(f"metrics: {name} names no extractor; write it like {_DEFAULT}.{name}")
        metrics.setdefault(extractor, []).append(metric)
    specs = extractor_specs(config.extractors or list(metrics) or [_DEFAULT], "cpu")
    infos = {inspect_extractor(spec): spec for spec in specs}
    unknown = metrics.keys() - {info.name for info in infos}
    if unknown:
        name = min(unknown)
        raise DarkroomError(f"metrics: {name}.{metrics[name][0]} needs {name} among the extractors; add it there")
    return {info: (spec, metrics.get(info.name)) for info, spec in infos.items() if not metrics or info.name in metrics}


def _side(key: str, text: str, endpoint_url: str | None) -> Side:
    match = _CELL.fullmatch(text)
    uri, cell_id = (match[1], match[2]) if match else (text, None)
    found = open_at(uri, endpoint_url)
    if cell_id is None and len(found.cells) == 1:
        cell_id = next(iter(found.cells))
    if cell_id not in found.cells:
        problem = f"the run has no cell {cell_id}" if cell_id else f"the run has {len(found.cells)} cells"
        raise DarkroomError(f"{key}={text}: {problem}; write {uri}#<cell_id> with one of {_cells(found)}")
    return Side(key, uri, found, cell_id)


def _cells(found: OpenedRun) -> str:
    differing = axes(found.cells.values(), found.info)
    told = [
        f"{cell_id} ({', '.join(f'{name}={info.settings_in(found.info)[name]}' for name in differing)})"
        if differing
        else cell_id
        for cell_id, info in list(found.cells.items())[:_CELLS_SHOWN]
    ]
    more = [f"{len(found.cells) - _CELLS_SHOWN} more"] if len(found.cells) > _CELLS_SHOWN else []
    return ", ".join(told + more)


def _images(side: Side, spec: ExtractorSpec, info: ExtractorInfo) -> PairedFeatures:
    try:
        names = manifest.committed(side.run.store, side.cell_id)
        found = gathered(paired_features(side.run.store, names, info.extractor_id, info.dimension))
        for line in left_out_lines(found.left_out, len(found.held.pairs)):
            print(f"note:   {side.key}: {line}")
        return found.held
    except FeaturesMissing as error:
        given = {"source": spec.source, "resize": spec.resize}
        keys = {name: value for name, value in {"name": spec.name, **given}.items() if value}
        extractors = {} if keys == {"name": _DEFAULT} else {"extractors": [keys]}
        command = on_run("evaluate", side.run.store.spec, **extractors)
        raise DarkroomError(f"{side.key}={side.uri}: not all of its images are scored; run {command}") from error


def _reference(config: DictConfig, spec: ExtractorSpec, info: ExtractorInfo) -> ReferenceFeatures | None:
    if config.reference is None:
        return None
    reference = open_reference(ReferenceSpec(config.reference, config.reference_endpoint_url))
    return reference_features(reference, info, lambda: load_extractor(spec), default_cache(), print)


def _say_pairs(images: Mapping[str, PairedFeatures]) -> None:
    first, second = (set(side.pairs) for side in images.values())
    shared = len(first & second)
    held = f", of which {MOST_HELD:,} at most are compared" if MOST_HELD in (len(first), len(second)) else ""
    print(f"pairs:  {shared:,}, of {len(first):,} images in a and {len(second):,} in b{held}")
    other_noise = num_of_other_noise(*images.values())
    if other_noise:
        print(f"note:   {other_noise:,} pairs have different seeds, so they share their prompt and not their noise")


def _judged(infos: Mapping[str, Metric], found: Mapping[str, Gap], tolerance: float) -> int:
    worse = [name for name, one in found.items() if verdict(infos[name], one, tolerance) is Verdict.WORSE]
    if worse:
        print(f"b is worse than a by {', '.join(worse)}")
    return ExitCode.CHECK_FAILED if worse else ExitCode.OK
