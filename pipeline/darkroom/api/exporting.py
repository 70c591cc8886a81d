"""Hands runs over as a dataset, in numbered shards with a card, Croissant metadata and the sums of all files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO

import pyarrow.parquet as pq

from darkroom.api.events import Noted, Progress
from darkroom.api.export_checks import Job, Part, checked_job, request
from darkroom.api.export_options import ExportOptions
from darkroom.api.export_workers import on_ray
from darkroom.api.options import EngineOptions
from darkroom.api.run import Run
from darkroom.exporting.about import Card, CardRun
from darkroom.exporting.card import card
from darkroom.exporting.croissant import croissant
from darkroom.exporting.dataset import Counts
from darkroom.exporting.shards import ExportedFile
from darkroom.exporting.writing import (
    CARD_KEY,
    COPIES_KEY,
    CROISSANT_KEY,
    EXPORT_KEY,
    SUMS_KEY,
    ShardWriter,
    ShardWritten,
    claim,
    in_threads,
    put_file,
    sums,
    write_shards,
)
from darkroom.runs.cells import read_choices
from darkroom.runs.encoding import sha256_of
from darkroom.runs.files import to_json
from darkroom.runs.reading import present_images
from darkroom.storage.local import LocalStore

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
    engine: EngineOptions,
    endpoint_url: str | None,
    to_endpoint_url: str | None,
    progress: Progress,
) -> Export:
    """Write the dataset, or go on with it, to a folder or an address.

    Raises DarkroomError, before anything is written, for what cannot be exported as asked; and for an image that is not
    what was committed, after which the same call goes on.
    """
    job = checked_job(given, to, options, endpoint_url, to_endpoint_url)
    claim(job.target, request(job))
    if isinstance(job.target, LocalStore):
        job.target.remove_abandoned()
    _say_more(job, progress)
    were_there = 0

    def told(event: ShardWritten) -> None:
        nonlocal were_there
        were_there += event.was_there
        progress(event)

    writer = ShardWriter(job.sources, job.target, job.form)
    write = partial(in_threads, writer) if engine.kind == "local" else partial(on_ray, writer, engine)
    files = write_shards(job.dataset, job.counts, writer, job.sizes, write, told)
    files = _described(job, files)
    num_images = {name: count.num_images for name, count in job.counts.splits.items()}
    num_shards, num_bytes = sum(map(len, job.sizes.values())), sum(file.size_bytes for file in files)
    return Export(job.runs[0].run, job.target.describe(), num_images, num_shards, were_there, num_bytes, job.counts)


def _say_more(job: Job, progress: Progress) -> None:
    if num_dropped := sum(part.num_dropped for part in job.runs):
        progress(Noted(f"{num_dropped} cells that the sweep dropped early are left out; cells=[...] names them"))
    if num_unknown := job.dataset.copies.num_unknown:
        what = "features" if job.options.dedup == "embedding" else "digest of their pixels, as they are older"
        progress(Noted(f"{num_unknown:,} images have no {what}: they count as copies of none, and are kept"))
    if job.options.layout == "imagefolder" and job.counts.num_images > _FEW_FILES:
        progress(
            Noted(
                f"{job.counts.num_images:,} files are slow to copy and to list; layout=webdataset and parquet hold "
                "many images in one"
            )
        )


# What is said of it --------------------------------------------------------------------------------------------------


def _described(job: Job, files: Sequence[ExportedFile]) -> list[ExportedFile]:
    """Write what says what is there, and the sums of all files; these files too. All of it is written anew, as figures
    may be newer."""
    about, request = _card(job), job.target.get(EXPORT_KEY)
    more = [ExportedFile(EXPORT_KEY, sha256_of(request), len(request))]
    if job.options.dedup != "none":
        buffer = BytesIO()
        pq.write_table(job.dataset.copies.named(job.names), buffer)
        more.append(put_file(job.target, COPIES_KEY, buffer.getvalue(), "application/vnd.apache.parquet"))
    more.append(put_file(job.target, CARD_KEY, card(about), "text/markdown"))
    more.append(put_file(job.target, CROISSANT_KEY, to_json(croissant(about, files)), "application/ld+json"))
    every = [*files, *more]
    job.target.put(SUMS_KEY, sums(every), "text/plain")
    return every


def _card(job: Job) -> Card:
    num_shards = {split: len(own) for split, own in job.sizes.items()}
    runs = [_card_run(part, job.counts.batch_sizes.get(place)) for place, part in enumerate(job.runs)]
    options, about = job.options, (job.target.spec, job.counts, job.form, num_shards)
    return Card(runs, *about, options.license, options.given, options.cosine, job.encoding)


def _card_run(part: Part, batch_size: int | None) -> CardRun:
    run, figures, cells = part.run, part.figures, part.selection.cells
    if figures.metrics:
        figures = replace(figures, present=present_images(run.store))
    return CardRun(
        part.selection.name,
        run.store.spec,
        run.info,
        run.cells,
        cells,
        figures.metrics,
        {cell_id: figures.figures(cell_id) for cell_id in cells},
        part.num_dropped,
        run.info.prompts.num_rows * len(cells) - part.selection.there.num_rows,
        batch_size,
        [evaluation.options for evaluation in part.selection.evaluations],
        read_choices(run.store),
    )
