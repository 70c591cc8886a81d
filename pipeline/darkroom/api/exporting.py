"""Hands a run over as a dataset, in numbered shards with a card and the sums of all files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from darkroom.api.events import Noted, Progress
from darkroom.api.options import ExportOptions
from darkroom.api.run import Run, chosen_cells, endpoints, open_run
from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.figures import Metric, read_evaluations
from darkroom.evaluation.latest import RunFigures, latest_figures
from darkroom.exporting.card import Card, card
from darkroom.exporting.selection import WHOLE, Counts, Selection
from darkroom.exporting.shards import ExportedFile, Format
from darkroom.exporting.writing import (
    CARD_KEY,
    EXPORT_KEY,
    SUMS_KEY,
    ShardWritten,
    check_apart,
    check_free,
    claim,
    shard_sizes,
    sums,
    write_shards,
)
from darkroom.prompts.conditions import Condition
from darkroom.runs.cells import read_choices
from darkroom.runs.reading import present_images
from darkroom.storage.store import Store, open_store, parse_spec

_FEW_FILES = 10_000  # of one repository of the hub


@dataclass(frozen=True)
class Export:
    """A dataset that was written."""

    run: Run
    place: str
    splits: Mapping[str, int]  # images by name of split
    num_shards: int
    num_shards_before: int  # that were there already
    num_bytes: int
    counts: Counts

    @property
    def num_images(self) -> int:
        return sum(self.splits.values())


def export(
    given: str | Run,
    to: str,
    options: ExportOptions,
    endpoint_url: str | None,
    to_endpoint_url: str | None,
    progress: Progress,
) -> Export:
    """Write the dataset, or go on with it, to a folder or an address.

    Raises DarkroomError, before anything is written, for what cannot be exported as asked; and for an image that is not
    what was committed, after which the same call goes on.
    """
    job = _checked(given, to, options, endpoint_url, to_endpoint_url)
    claim(job.target, _request(job))
    _say_more(job, progress)
    were_there = 0

    def told(event: ShardWritten) -> None:
        nonlocal were_there
        were_there += event.was_there
        progress(event)

    files = write_shards(job.selection, job.counts, job.target, job.form, job.sizes, told)
    files = _with_card(job, files)
    num_images = {name: count.num_images for name, count in job.counts.splits.items()}
    num_shards, num_bytes = sum(map(len, job.sizes.values())), sum(file.size_bytes for file in files)
    return Export(job.run, job.target.describe(), num_images, num_shards, were_there, num_bytes, job.counts)


@dataclass(frozen=True, eq=False)
class _Job:
    """An export that can be done as asked."""

    run: Run
    target: Store
    options: ExportOptions
    selection: Selection
    counts: Counts
    sizes: Mapping[str, Sequence[int]]  # images of each shard, by split
    form: Format
    figures: RunFigures
    num_dropped: int  # cells, that are left out


# Before anything is written ------------------------------------------------------------------------------------------


def _checked(
    given: str | Run, to: str, options: ExportOptions, endpoint_url: str | None, to_endpoint_url: str | None
) -> _Job:
    condition = Condition(options.where, "where") if options.where is not None else None
    for_run, for_to = endpoints(endpoint_url, given, to)
    run = open_run(given, for_run)
    target = _target(to, to_endpoint_url or for_to)
    check_apart(run.store.spec, target.spec)
    check_free(target)
    chosen = {*chosen_cells(run, options.cells)}
    cells = {cell_id: item for cell_id, item in run.cells.items() if cell_id in chosen}  # in the run's order
    num_dropped = len(run.cells) - len(cells) if options.cells is None else 0
    evaluations = read_evaluations(run.store)
    figures = latest_figures(evaluations, cells)
    known, scores = figures.all_image_scores, tuple(dict.fromkeys(options.scores))
    splits = options.shares or WHOLE
    selection = Selection(run.store, run.info.shard_size, cells, condition, known, scores, splits, evaluations)
    selection.check()
    counts = selection.count()
    _check_images(run, options, counts)
    sizes = {name: shard_sizes(options.layout, count, options.images_a_shard) for name, count in counts.splits.items()}
    image_format, own = run.info.output.image_format, selection.own_columns
    has_sidecars = run.info.output.c2pa
    form = Format(options.layout, image_format, options.shares is not None, own, scores, cells, has_sidecars)
    return _Job(run, target, options, selection, counts, sizes, form, figures, num_dropped)


def _target(to: str, endpoint_url: str | None) -> Store:
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


def _request(job: _Job) -> dict[str, object]:
    """What decides the bytes of shards, by the names that a user knows."""
    options, counts = job.options, job.counts
    return {
        "layout": options.layout,
        "prompts": job.run.info.prompts.fingerprint,
        "cells": list(job.selection.cells),
        "where": options.where,
        "scores": {name: _definition(job.figures.metrics[name]) for name in options.scores},
        "splits": options.shares,
        "num_shards": {name: len(own) for name, own in job.sizes.items()},
        "num_images": {name: count.num_images for name, count in counts.splits.items()},
        "images": counts.digest,
    }


def _definition(metric: Metric) -> dict[str, str]:
    return {"extractor": metric.extractor_id, "convention": metric.convention}


def _say_more(job: _Job, progress: Progress) -> None:
    if job.num_dropped:
        progress(Noted(f"{job.num_dropped} cells that the sweep dropped early are left out; cells=[...] names them"))
    if job.options.layout == "imagefolder" and job.counts.num_images > _FEW_FILES:
        progress(
            Noted(
                f"{job.counts.num_images:,} files are slow to copy and to list; layout=webdataset and parquet hold "
                "many images in one"
            )
        )


# What is said of it --------------------------------------------------------------------------------------------------


def _with_card(job: _Job, files: Sequence[ExportedFile]) -> list[ExportedFile]:
    """Write the card, and the sums of all files; these files too. Both are written anew, as figures may be newer."""
    text = card(_card(job))
    job.target.put(CARD_KEY, text, "text/markdown")
    request = job.target.get(EXPORT_KEY)
    more = [
        ExportedFile(key, sha256(data).hexdigest(), len(data))
        for key, data in ((CARD_KEY, text), (EXPORT_KEY, request))
    ]
    every = [*files, *more]
    job.target.put(SUMS_KEY, sums(every), "text/plain")
    return every


def _card(job: _Job) -> Card:
    run, figures = job.run, job.figures
    if figures.metrics:
        figures = replace(figures, present=present_images(run.store))
    return Card(
        run.store.spec,
        job.target.spec,
        run.info,
        run.cells,
        job.selection.cells,
        job.counts,
        job.form,
        {split: len(own) for split, own in job.sizes.items()},
        job.options.license,
        figures.metrics,
        {cell_id: figures.figures(cell_id) for cell_id in job.selection.cells},
        job.options.given,
        job.num_dropped,
        run.info.prompts.num_rows * len(job.selection.cells) - job.counts.shards.num_rows,
        [evaluation.options for evaluation in job.selection.evaluations],
        read_choices(run.store),
    )
