"""What an evaluation needs before there are figures: extractors and a reference that are there, and images' features.

The former are checked before anything is rendered or measured.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import pyarrow as pa

from darkroom.api.engine import Counting, Engine
from darkroom.api.evaluation_options import EvaluationOptions
from darkroom.api.events import CHECKING, FeaturesStarted, ImageLeftOut, ImagesLeftOut, Progress, StageEnded, Warned
from darkroom.api.gathering import Span, read_spans
from darkroom.api.run import Run
from darkroom.api.watching import watched
from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.domain.identity import Shard
from darkroom.domain.process import from_anywhere
from darkroom.domain.records import OK
from darkroom.domain.setting_values import as_builtin, checked_mapping, converted, converted_or_none, unknown
from darkroom.engine.extraction import no_column
from darkroom.engine.feature_worker import FeatureWorkerSpec
from darkroom.engine.tasks import Event, FeatureTask, ShardDone, task_name
from darkroom.evaluation.catalogue import check_scores, default_metrics, definition, metrics_by_extractor
from darkroom.evaluation.command_scorer import placed
from darkroom.evaluation.extractor import ExtractorPin, ExtractorSpec
from darkroom.evaluation.figures import RATERS, reference_of
from darkroom.evaluation.measuring import figure_name
from darkroom.evaluation.opening import inspect_extractor, pin_extractor
from darkroom.evaluation.ratings import METRICS
from darkroom.evaluation.reference import Reference, Statistics
from darkroom.evaluation.reference_free import named_convention
from darkroom.evaluation.reference_generated import DEMO
from darkroom.evaluation.reference_opening import open_references
from darkroom.runs import manifest
from darkroom.runs.bulk import read_each
from darkroom.runs.features import ExtractorInfo, ShardFeatures, get_features, shards_with_features
from darkroom.runs.listing import Committed, ShardSet, committed_shards
from darkroom.storage.store import Store, prefetched

_KEYS = tuple(each.name for each in fields(ExtractorSpec) if each.name not in ("device", "pin"))
_MOST_NAMED = 10  # images without features


@dataclass(frozen=True)
class CheckedEvaluation:
    """Checked options: extractors that are there, references that are there."""

    options: EvaluationOptions
    extractors: tuple[ExtractorInfo, ...]
    references: Mapping[str, Reference]  # by their names; "": one without a name
    named: Mapping[str, Sequence[str]]  # what an extractor is called -> metrics; empty where the options name none
    pins: tuple[ExtractorPin, ...]  # of each extractor

    @property
    def figures(self) -> list[str]:
        """Names of those that there will be."""
        return [figure_name(info, metric) for info in self.extractors for metric in self.metrics(info)]

    def metrics(self, info: ExtractorInfo) -> Sequence[str]:
        """Of one extractor."""
        return self.named.get(info.called) or default_metrics(info, self.references)

    def of_figure(self, figure: str) -> tuple[ExtractorInfo, str]:
        """The extractor and the metric of one of `figures`."""
        return next(
            (info, metric)
            for info in self.extractors
            for metric in self.metrics(info)
            if figure_name(info, metric) == figure
        )

    @property
    def reads_columns(self) -> bool:
        """Of the prompts, beside those that Darkroom reads."""
        return bool(self.options.by) or any(info.columns for info in self.extractors)

    @property
    def extractor_ids(self) -> list[str]:
        return [info.extractor_id for info in self.extractors]

    def specs(self, device: str) -> tuple[ExtractorSpec, ...]:
        specs = extractor_specs(self.options.extractors, device)
        return tuple(replace(spec, pin=pin) for spec, pin in zip(specs, self.pins, strict=True))


def check_evaluation(options: EvaluationOptions, progress: Progress, votes: bool = False) -> CheckedEvaluation:
    """Raises DarkroomError for what could not be measured, before hours of work. `votes`: people have voted already."""
    named_convention(options.clip_convention)
    specs = extractor_specs(options.extractors, "cpu")
    infos = tuple(map(inspect_extractor, specs))
    for info in infos:
        check_scores(info)
    twice = [name for name, count in Counter(info.called for info in infos).items() if count > 1]
    if twice:
        raise DarkroomError(
            f"extractors: {twice[0]} is there twice, and figures are called by it; give one an alias, as in "
            f"{{name: {twice[0]}, alias: other}}"
        )
    references = _opened_references(options, progress)
    named = {} if options.metrics is None else metrics_by_extractor(list(options.metrics), infos, references)
    found = CheckedEvaluation(options, infos, references, named, tuple(map(pin_extractor, specs, infos)))
    _check_reference(found)
    for expected in options.expect:
        if is_rated(expected.figure):
            _check_rated(expected.figure, votes)
        elif expected.figure not in found.figures:
            known = ", ".join(found.figures)
            raise DarkroomError(f"expect: no figure {expected.figure!r} will be there; those are {known}")
    return found


def is_rated(figure: str) -> bool:
    """It is of people's votes, by its name."""
    return figure.partition(".")[0] == RATERS


def _check_rated(figure: str, votes: bool) -> None:
    if figure not in METRICS:
        raise DarkroomError(f"expect: no figure {figure!r}; of what raters say there are {', '.join(METRICS)}")
    if not votes:
        raise DarkroomError(
            f"expect: {figure} is of people's votes, and none is there; have the run rated by `darkroom rate`, and "
            "expect it when the run is evaluated again"
        )


def stored_options(options: EvaluationOptions) -> dict[str, object]:
    """What a later command says to measure the same, from whatever folder: extractors, and what is not the default."""
    usual = EvaluationOptions()
    given = {each.name: getattr(options, each.name) for each in fields(options)}
    found = {name: value for name, value in given.items() if value != getattr(usual, name)}
    if options.reference is not None:
        found["reference"] = _placed_reference(options.reference)
    expected = [_finite(vars(each)) for each in options.expect]
    return found | {"extractors": list(map(_placed, options.extractors))} | ({"expect": expected} if expected else {})


def _placed_reference(given: str | Sequence[str] | Mapping[str, str]) -> str | list[str] | dict[str, str]:
    if isinstance(given, str):
        return given if given == DEMO else from_anywhere(given)
    if isinstance(given, Mapping):
        return {name: given[name] if given[name] == DEMO else from_anywhere(given[name]) for name in given}
    return [each if each == DEMO else from_anywhere(each) for each in given]


def _placed(extractor: str | Mapping[str, Any]) -> str | dict[str, Any]:
    """With its weights and its command's files named from anywhere, where they are files of this machine."""
    if isinstance(extractor, str):
        return extractor
    if extractor.get("command") is not None:
        return given_keys(_extractor_spec(extractor, "cpu"))
    if extractor.get("source") is None:
        return dict(extractor)
    source = converted("extractors: source", str, extractor["source"])
    return {**extractor, "source": from_anywhere(source) if Path(source).expanduser().exists() else source}


def _finite(expected: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in expected.items() if not (isinstance(value, float) and math.isinf(value))}


def extractor_specs(given: Iterable[str | Mapping[str, Any]], device: str) -> tuple[ExtractorSpec, ...]:
    """Each a name, such as `demo_clip`, or its keys, such as `{"name": "inception_v3", "source": "weights.pth"}`."""
    specs = tuple(_extractor_spec(item, device) for item in given)
    if not specs:
        raise DarkroomError("extractors=[] names none; leave it out, or give some, such as [demo_clip]")
    return specs


def _extractor_spec(item: str | Mapping[str, Any], device: str) -> ExtractorSpec:
    if isinstance(item, str):
        return ExtractorSpec(item, device=device)
    for key in item if isinstance(item, Mapping) else ():
        if key not in _KEYS:
            raise DarkroomError(f"extractors: {unknown(str(key), _KEYS, 'key')}")
    if not isinstance(item, Mapping) or "name" not in item:
        raise DarkroomError(f"extractors: {item} is none; give a name, or a name with {', '.join(_KEYS[1:])}")
    kinds = get_type_hints(ExtractorSpec)
    given = {name: _value(f"extractors: {name}", kinds[name], value) for name, value in item.items()}
    if given.get("command") is not None:
        given["command"] = placed(given["command"])
    if "files" in given:
        given["files"] = tuple(map(from_anywhere, given["files"]))
    return ExtractorSpec(**given, device=device)


def _value(key: str, kind: Any, value: Any) -> Any:
    if key.endswith(": options"):
        return _options(key, value)
    if get_origin(kind) is not tuple:
        return converted_or_none(key, kind, value)
    entries = as_builtin(value)
    if isinstance(entries, str) or not isinstance(entries, Sequence):
        raise DarkroomError(f"{key}={value!r}: give a list of texts")
    return tuple(converted(key, str, entry) for entry in entries)


def _options(key: str, value: Any) -> Mapping[str, Any] | None:
    """As they are, where JSON holds them."""
    text = None if value is None else checked_mapping(value, key)
    return json.loads(text) if text else None


def given_keys(spec: ExtractorSpec) -> dict[str, Any]:
    """A spec as a command has it: its keys that are not the default."""
    found = {each.name: getattr(spec, each.name) for each in fields(spec) if each.name in _KEYS}
    usual = {each.name: each.default for each in fields(spec)}
    other = {name: value for name, value in found.items() if name == "name" or value != usual[name]}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in other.items()}


def check_columns(wanted: CheckedEvaluation, there: Sequence[str]) -> None:
    """Refuse columns that the prompts have not, of scorers and of `by`; `there`: by the names that records have."""
    for info in wanted.extractors:
        for column in info.columns:
            if column not in there:
                raise no_column(column, there, info.called)
    for column in wanted.options.by or ():
        if column not in there:
            known = ", ".join(there) or "none"
            raise DarkroomError(
                f"by={column}: the prompts have no such column beside those that Darkroom reads; there are {known}"
            )


def check_frames(wanted: CheckedEvaluation, are_videos: bool) -> None:
    """Refuse extractors that look at several frames, of a run of images."""
    for info in wanted.extractors:
        if info.num_frames and not are_videos:
            raise DarkroomError(
                f"extractors: {info.called} looks at {info.num_frames} frames of a video, and the run is of images; "
                "leave it out"
            )


def _check_reference(found: CheckedEvaluation) -> None:
    """Refuse metrics that are named and could not be computed."""
    for info in found.extractors if found.named else ():
        for metric in found.metrics(info):
            defined, figure = definition(metric, info), figure_name(info, metric)
            reference = found.references.get(reference_of(metric))
            if reference is None and defined.needs_reference:
                raise DarkroomError(f"metrics: {figure} needs a reference; give one as reference=...")
            if reference and defined.needs_reference_features and isinstance(reference.source, Statistics):
                raise DarkroomError(
                    f"reference={reference.name} holds statistics alone, and {figure} needs its images; "
                    "give those, or leave the metric out"
                )


def _opened_references(options: EvaluationOptions, progress: Progress) -> dict[str, Reference]:
    references = open_references(options.reference, options.reference_endpoint_url)
    for reference in references.values():
        for sentence in reference.left_out:
            progress(Warned(f"reference {reference.name}: {sentence}"))
    return references


# Features -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Extracted:
    """The shards that were there when extraction began: what an evaluation is of, whatever is committed beside it."""

    run: Run
    there: ShardSet
    num_left_out: int  # images that have no features

    def num_images(self, cell_id: str, first_rows: Collection[int] | None = None) -> int:
        """Of one cell, about."""
        num_shards = self.there.count(cell_id) if first_rows is None else len(first_rows)
        return num_shards * self.run.info.shard_size * self.run.info.num_images_per_prompt

    def shards(self, cell_id: str | None = None, first_rows: Collection[int] | None = None) -> Iterator[Committed]:
        """Of one cell or of all. With `first_rows`, those that start at these rows."""
        for committed in committed_shards(self.run.store, cell_id):
            if committed.shard in self.there and (first_rows is None or committed.shard.start in first_rows):
                yield committed


@dataclass
class _LeftOut:
    """Images that have no features: how many, and the first ones by name."""

    count: int = 0
    named: list[ImageLeftOut] = field(default_factory=list)

    def add(self, store: Store, left_out: Mapping[str, tuple[str, str]]) -> None:
        """image_id -> key, and why it has none."""
        self.count += len(left_out)
        for image_id, (key, reason) in list(left_out.items())[: _MOST_NAMED - len(self.named)]:
            self.named.append(ImageLeftOut(image_id, store.describe(key), reason))

    def tell(self, progress: Progress) -> int:
        for image in self.named:
            progress(image)
        if self.count:
            progress(ImagesLeftOut(self.count, self.count - len(self.named)))
        return self.count


@dataclass(frozen=True)
class StoredFeatures:
    """What of a shard's features is stored."""

    shard: Shard
    is_complete: bool  # every file that a record names was looked at, by every extractor
    left_out: dict[str, tuple[str, str]]  # image_id -> key, and why it has no features


def extract(
    run: Run, specs: Sequence[ExtractorSpec], extractor_ids: Sequence[str], engine: Engine, progress: Progress
) -> Extracted:
    """Features of every committed image that has none of the file that its record names.

    Tells which have none after. Raises TryAgain where shards could not be read.
    """
    there = ShardSet(run.info.shard_size, (each for each in manifest.committed(run.store) if each.cell_id in run.cells))
    if not len(there):
        raise DarkroomError(f"{run.store.describe()}: no shard is committed; render it first")
    missing, left_out = ShardSet(run.info.shard_size), _LeftOut()

    def add(found: StoredFeatures) -> None:
        if found.is_complete:
            left_out.add(run.store, found.left_out)
        else:
            missing.add(found.shard)

    _look(run, there, extractor_ids, add, engine, progress)
    failing = _extract(run, missing, specs, engine, progress)
    _look(run, failing, extractor_ids, lambda found: left_out.add(run.store, found.left_out), engine, progress)
    return Extracted(run, there, left_out.tell(progress))


def _look(
    run: Run,
    shards: ShardSet,
    extractor_ids: Sequence[str],
    each: Callable[[StoredFeatures], None],
    engine: Engine,
    progress: Progress,
) -> None:
    """`each` is given what every one of these shards has that lacks something, in order of key."""
    if not len(shards):
        return
    listed = {each: shards_with_features(run.store, each, run.info.shard_size) for each in extractor_ids}
    asked = (committed for committed in committed_shards(run.store) if committed.shard in shards)

    def reading(span: Span) -> Callable[[Store], list[StoredFeatures]]:
        there = {name: frozenset(one.shard for one in span if one.shard in found) for name, found in listed.items()}
        return partial(_lacking, shards=span, there=there)

    def take(found: list[StoredFeatures]) -> None:
        for one in found:
            each(one)

    num_images = shards.num_rows * run.info.num_images_per_prompt
    read_spans(run, CHECKING, num_images, asked, reading, take, engine, progress)


def _lacking(store: Store, shards: Span, there: Mapping[str, Container[Shard]]) -> list[StoredFeatures]:
    return [found for found in stored_features(store, shards, there) if not found.is_complete or found.left_out]


def stored_features(
    store: Store, shards: Iterable[Committed], there: Mapping[str, Container[Shard]]
) -> Iterator[StoredFeatures]:
    """What each of these shards has, in their order. `there`: extractor_id -> shards of which features are stored."""
    tables = read_each(store, shards, ["image_id", "status", "sha256", "key"])
    return prefetched(tables, lambda item: _of_shard(store, *item, there))


def _of_shard(store: Store, shard: Shard, table: pa.Table, there: Mapping[str, Container[Shard]]) -> StoredFeatures:
    ok = [row for row in table.to_pylist() if row["status"] == OK]
    is_complete, left_out = True, {}
    for extractor_id, shards in there.items():
        found = get_features(store, extractor_id, shard) if shard in shards else None
        is_complete = is_complete and found is not None and all(_has(found, row) for row in ok)
        for row in ok if found else ():
            if found and (error := found.error(row["image_id"], row["sha256"], store.spec)):
                left_out[row["image_id"]] = row["key"], error
    return StoredFeatures(shard, is_complete, left_out)


def _has(found: ShardFeatures, row: dict[str, Any]) -> bool:
    return found.place(row["image_id"], row["sha256"]) is not None


def _extract(
    run: Run, missing: ShardSet, specs: Sequence[ExtractorSpec], engine: Engine, progress: Progress
) -> ShardSet:
    """Make the features of these shards; those of which images stay without."""
    failing = ShardSet(run.info.shard_size)
    if not len(missing):
        return failing
    num_images = missing.num_rows * run.info.num_images_per_prompt
    progress(FeaturesStarted(len(missing), num_images, tuple(spec.alias or spec.name for spec in specs)))
    counting = Counting(progress, "features", num_images, engine.options.price_per_hour)

    def listen(event: Event) -> None:
        if isinstance(event, ShardDone) and event.report.num_failed and isinstance(event.task, FeatureTask):
            failing.add(event.task.shard)
        counting(event)

    tasks = (FeatureTask(shard) for shard in manifest.committed(run.store) if shard in missing)
    dispatcher = engine.dispatcher(FeatureWorkerSpec(tuple(specs), run.store.spec))
    with watched(counting.meter, engine.options, run.store, progress):
        dispatcher.run(tasks, listen)
    progress(StageEnded("features", counting.spent))
    for task, reason in counting.summary.failed_shards[:1]:
        left = len(counting.summary.failed_shards)
        raise TryAgain(f"{left} shards have no features yet; {task_name(task)}: {reason}; the same command goes on")
    return failing
