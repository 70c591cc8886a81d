"""What an export is of, and whether it can be done as asked: looked at before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from darkroom.api.export_options import ExportOptions
from darkroom.api.run import Run, cell_address, chosen_cells, endpoints, open_run
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import unknown
from darkroom.evaluation.figures import Metric, read_evaluations
from darkroom.evaluation.latest import RunFigures, latest_figures
from darkroom.exporting.about import run_names
from darkroom.exporting.copies import Copies, by_embedding, by_pixels, check_ids
from darkroom.exporting.dataset import RUN, WHOLE, Counts, Dataset
from darkroom.exporting.recoding import Encoding, Source, exported_images
from darkroom.exporting.selection import Selection
from darkroom.exporting.shards import Format
from darkroom.exporting.writing import (
    check_apart,
    check_free,
    shard_sizes,
)
from darkroom.prompts.conditions import Condition
from darkroom.runs.encoding import LOSSLESS
from darkroom.runs.manifest import RECORD_SCHEMA, to_records
from darkroom.storage.store import Store, open_store, parse_spec

_TRIED = 8  # images that are encoded to see how large files become
_SAME = "same"  # of image_format


@dataclass(frozen=True, eq=False)
class Part:
    """A run, and what of it is exported."""

    run: Run
    selection: Selection
    figures: RunFigures
    num_dropped: int  # cells, that are left out


@dataclass(frozen=True, eq=False)
class Job:
    """An export that can be done as asked."""

    runs: Sequence[Part]
    target: Store
    options: ExportOptions
    dataset: Dataset
    counts: Counts
    sizes: Mapping[str, Sequence[int]]  # images of each shard, by split
    form: Format
    sources: Sequence[Source]
    encoding: Encoding | None

    @property
    def names(self) -> list[str]:
        return [run.selection.name for run in self.runs]


def checked_job(
    given: str | Run, to: str, options: ExportOptions, endpoint_url: str | None, to_endpoint_url: str | None
) -> Job:
    condition = Condition(options.where, "where") if options.where is not None else None
    for_run, for_to, *for_others = endpoints(endpoint_url, given, to, *options.others)
    runs = [(open_run(given, for_run), options.cells)]
    for address, endpoint in zip(options.others, for_others, strict=True):
        place, cell_id = cell_address(address)
        runs.append((open_run(place, endpoint, "others"), [cell_id] if cell_id else None))
    target = target_of(to, to_endpoint_url or for_to)
    for run, _ in runs:
        check_apart(run.store.spec, target.spec)
    check_free(target)
    names = run_names([run.uri for run, _ in runs])
    parts = [_part(run, cells, name, condition, options) for (run, cells), name in zip(runs, names, strict=True)]
    _check_scores(parts)
    dataset = Dataset([part.selection for part in parts], options.shares or WHOLE)
    form, encoding = _form(parts, options, dataset)
    sources = [
        Source(
            run.store, part.selection.cells, run.info.output, encoding if encoding.applies_to(run.info.output) else None
        )
        for part in parts
        if (run := part.run)
    ]
    dataset = dataset.without(_copies(parts, options))
    counts = dataset.count()
    _check_images(runs[0][0], options, counts)
    scale = _scale(dataset, sources)
    sizes = {
        name: shard_sizes(options.layout, count, options.images_a_shard, scale) for name, count in counts.splits.items()
    }
    used = encoding if any(source.encoding for source in sources) else None
    return Job(parts, target, options, dataset, counts, sizes, form, sources, used)


def _part(
    run: Run, named: Sequence[str] | None, name: str, condition: Condition | None, options: ExportOptions
) -> Part:
    chosen = {*chosen_cells(run, named)}
    cells = {cell_id: item for cell_id, item in run.cells.items() if cell_id in chosen}  # in the run's order
    evaluations = read_evaluations(run.store)
    figures = latest_figures(evaluations, cells)
    scores = tuple(dict.fromkeys(options.scores))
    selection = Selection(
        name, run.store, run.info.shard_size, cells, condition, figures.all_image_scores, scores, evaluations,
        [part.start for part in run.info.parts],
    )  # fmt: skip
    selection.check()
    return Part(run, selection, figures, len(run.cells) - len(cells) if named is None else 0)


def _check_scores(parts: Sequence[Part]) -> None:
    """Raises DarkroomError for a score, a column or the condition's, that is another one in another run."""
    known: dict[str, tuple[str, dict[str, str]]] = {}  # name -> the first run that has it, and its definition there
    for selection, figures in ((part.selection, part.figures) for part in parts):
        for name in selection.read_scores:
            own = _definition(figures.metrics[name])
            first, definition = known.setdefault(name, (selection.name, own))
            if own != definition:
                key = "scores" if name in selection.scores else "where"
                raise DarkroomError(
                    f"{key}: {name} is of another extractor or convention in {selection.name} than in {first}; "
                    "evaluate both alike, or leave it out"
                )


def _check_videos(are_videos: Sequence[bool], options: ExportOptions) -> None:
    """Videos are handed over as they are."""
    if not any(are_videos):
        return
    if not all(are_videos):
        raise DarkroomError("others: some runs are of videos and some of images; give them datasets of their own")
    if options.layout == "imagefolder":
        raise DarkroomError("layout=imagefolder: it is of images, and the run is of videos; give webdataset or parquet")
    for name in ("image_format", "size"):
        if (value := getattr(options, name)) != getattr(ExportOptions, name):
            raise DarkroomError(f"{name}={value}: videos are not encoded anew; leave it out")


def _form(parts: Sequence[Part], options: ExportOptions, dataset: Dataset) -> tuple[Format, Encoding]:
    """How shards are written, and how images are that are not so yet."""
    outputs = {part.selection.name: part.run.info.output for part in parts}
    first = parts[0].run.info.output
    _check_videos([part.run.info.output.video for part in parts], options)
    image_format = first.image_format if options.image_format == _SAME else options.image_format
    for name, output in outputs.items():
        if options.image_format == _SAME and output.image_format != image_format:
            raise DarkroomError(
                f"others: images of {name} are {output.image_format}, and those of {parts[0].selection.name} "
                f"{image_format}; give image_format={image_format}, so that all are of one format"
            )
    own = first.quality if first.image_format == image_format else 95
    quality = 0 if image_format in LOSSLESS else options.quality or own
    cells = {cell_id: info for part in parts for cell_id, info in part.selection.cells.items()}
    names = [part.selection.name for part in parts] if len(parts) > 1 else []
    encoding = Encoding(image_format, quality, options.size)
    form = Format(
        options.layout,
        image_format,
        options.shares is not None,
        dataset.own,
        tuple(dict.fromkeys(options.scores)),
        cells,
        names,
        any(output.c2pa and not encoding.applies_to(output) for output in outputs.values()),
    )
    return form, encoding


def _copies(parts: Sequence[Part], options: ExportOptions) -> Copies:
    runs = [part.selection for part in parts]
    if options.dedup == "pixels":
        return by_pixels(runs)
    if options.dedup == "embedding":
        first, *others = (_extractor_id(part, options.extractor) for part in parts)
        for run, own in zip(runs[1:], others, strict=True):
            if own != first:
                raise DarkroomError(
                    f"dedup=embedding: features of {run.name} are by another extractor than those of {runs[0].name}; "
                    "evaluate both by the same one, and give its name as extractor=..."
                )
        return by_embedding(runs, first, options.cosine)
    check_ids(runs)
    return Copies()


def _extractor_id(part: Part, named: str | None) -> str:
    """Of the extractor whose features of the run are compared. Raises DarkroomError where none, or no single one, is
    meant."""
    metrics = [metric for each in part.selection.evaluations for metric in each.metrics.values()]
    known = {metric.extractor: metric.extractor_id for metric in metrics if metric.column is None and metric.weights}
    if named is None and len(known) == 1:
        return next(iter(known.values()))
    if named in known:
        return known[named]
    if not known:
        raise DarkroomError(f"dedup=embedding: {part.selection.name} has no features; evaluate it first")
    if named is None:
        raise DarkroomError(f"dedup=embedding: {part.selection.name} has features by {', '.join(known)}; give "
                            "extractor=... for one of them")  # fmt: skip
    raise DarkroomError(f"extractor: {unknown(named, tuple(known), 'extractor of the run')}")


def _scale(dataset: Dataset, sources: Sequence[Source]) -> float:
    """By how much files that are encoded anew are larger than those of the run, from the first few."""
    if not any(source.encoding for source in sources):
        return 1.0
    table = dataset.first(_TRIED)
    records = to_records(table.select(RECORD_SCHEMA.names))
    places = table[RUN].to_pylist()
    images = [exported_images(sources[place], [record], {})[0] for place, record in zip(places, records, strict=True)]
    return sum(len(image.data) for image in images) / max(1, sum(record.bytes or 0 for record in records))


def target_of(to: str, endpoint_url: str | None) -> Store:
    """The folder that `to` names. Raises DarkroomError for what can be none."""
    try:
        spec = parse_spec(to, endpoint_url)
    except DarkroomError as error:
        text = str(error).replace("output.uri", "to").replace("output.endpoint_url", "to_endpoint_url")
        raise DarkroomError(text) from None
    if not spec.is_remote and Path(spec.uri).is_file():
        raise DarkroomError(f"to={spec.uri}: is a file; name a folder")
    return open_store(spec)


def _check_images(run: Run, options: ExportOptions, counts: Counts) -> None:
    if not counts.num_images:
        without = sum(counts.without_image.values())
        why = f"; where={options.where} leaves out all {counts.num_excluded:,}" if counts.num_excluded else ""
        why += f"; {without:,} records have no image" if without else ""
        raise DarkroomError(f"run={run.uri}: no image is chosen{why}; choose others, or render more of the run")
    for name, count in counts.splits.items():
        if not count.num_images:
            raise DarkroomError(
                f"splits: {name}={(options.shares or WHOLE)[name]:g} holds none of the {counts.num_images:,} images, "
                "since prompts go to splits as wholes; give it a larger share, or leave it out"
            )


def request(job: Job) -> dict[str, object]:
    """What decides the bytes of shards, by the names that a user knows; first what says most where it differs."""
    options, counts = job.options, job.counts
    is_near = options.dedup == "embedding"
    return {
        "layout": options.layout,
        "where": options.where,
        "scores": {name: _definition(job.runs[0].figures.metrics[name]) for name in options.scores},
        "splits": options.shares,
        "encoding": None if job.encoding is None else vars(job.encoding),
        "dedup": options.dedup,
        **({"cosine": options.cosine, "extractor": _extractor_id(job.runs[0], options.extractor)} if is_near else {}),
        "num_images": {name: count.num_images for name, count in counts.splits.items()},
        "num_shards": {name: len(own) for name, own in job.sizes.items()},
        "runs": [
            {
                **({"name": part.selection.name} if len(job.runs) > 1 else {}),  # a column says it
                "prompts": part.run.info.prompts.fingerprint,
                "cells": list(part.selection.cells),
            }
            for part in job.runs
        ],
        "images": counts.digest,
    }


def _definition(metric: Metric) -> dict[str, str]:
    return {"extractor": metric.extractor_id, "convention": metric.convention}
