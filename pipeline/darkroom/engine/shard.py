"""A shard on its way through a worker: which of its samples are rendered, how they are committed, what is reported.

A fresh shard is rendered whole, and its manifest put if no other attempt was first. A retry renders the records that
failed, and replaces the manifest that it read; what it stores is named after that (`manifest.fence_retries` says why).
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from darkroom.domain.identity import Cell, Shard
from darkroom.domain.policy import read_rejected
from darkroom.domain.records import FAILED, FILTERED, INVALID, OK, Record, Sample, samples
from darkroom.engine.choosing import Place
from darkroom.engine.outcomes import Provenance
from darkroom.engine.tasks import RetryTask, ShardReport, ShardTask
from darkroom.runs import manifest
from darkroom.runs.encoding import size_fault
from darkroom.runs.files import manifest_key
from darkroom.runs.manifest import extra_columns, to_records, to_table
from darkroom.runs.overlays import Overlay, OverlayFault, OverlaySettings, check_fits, overlay_of, rows_read
from darkroom.runs.reading import recorded_sample
from darkroom.runs.run import OutputInfo, RunInfo, to_metadata
from darkroom.runs.watermarks import NOT_FOUND
from darkroom.runs.watermarks import size_fault as mark_fault
from darkroom.storage.store import NotFound, Store


class Revised(Exception):
    """The manifest is not what this attempt read: the next one begins with what it is now."""


@dataclass(frozen=True)
class ShardWork:
    """What one attempt at a shard does."""

    shard: Shard
    cell: Cell
    samples: Sequence[Sample]  # to be rendered, in order of their records
    attempt: int  # as records say it
    suffix: str  # of the names of what is stored
    puts_features: bool  # where the worker makes features inline
    places: Sequence[Place]  # of the samples among their rows' images
    extras: pa.Table  # the other columns of the samples' prompt rows, in the same order
    commit: Callable[
        [Sequence[Record], Provenance], bool
    ]  # makes the samples' records visible; False: others are already


def fresh_shard(store: Store, run: RunInfo, task: ShardTask, attempt: int) -> ShardWork:
    """Every sample of the shard's rows."""
    found = [
        (position, sample)
        for position, row in enumerate(task.rows)
        for sample in samples(row, task.cell, run.seed, run.num_images_per_prompt)
    ]
    extras = task.extras.take(pa.array([position for position, _ in found], pa.int64()))
    commit = partial(_commit, store, run, task.shard, extras)
    wanted = [with_trajectory(sample, run.output) for _, sample in found]
    places = _places([sample.row.row for sample in wanted])
    return ShardWork(task.shard, task.cell, wanted, attempt, "", True, places, extras, commit)


def _places(rows: Sequence[int]) -> list[Place]:
    """Of all images of some rows, each by its row's number."""
    counts, seen = Counter(rows), Counter[int]()
    found = []
    for row in rows:
        found.append(Place(seen[row], counts[row]))
        seen[row] += 1
    return found


def with_trajectory(sample: Sample, output: OutputInfo) -> Sample:
    """The sample, asking for its trajectory where it is one of those that the run stores them of: the first image of
    each of the first rows."""
    if not output.trajectory_prompts or sample.row.row >= output.trajectory_prompts or sample.sample_index:
        return sample
    return replace(sample, request=replace(sample.request, trajectory=tuple(output.trajectory_steps or ())))


def _commit(
    store: Store, run: RunInfo, shard: Shard, extras: pa.Table, records: Sequence[Record], provenance: Provenance
) -> bool:
    return manifest.commit(store, shard, to_table(records, extras, _proven(run, shard, records, provenance)))


def _proven(run: RunInfo, shard: Shard, records: Sequence[Record], provenance: Provenance) -> dict[str, str]:
    """The manifest's own metadata: what it proves, beyond its rows."""
    return {
        **to_metadata(run),
        "darkroom.shard_id": shard.shard_id,
        "darkroom.prompts_fingerprint": run.first_prompts.fingerprint,
        "darkroom.rows": f"{shard.start}:{shard.stop}",
        "darkroom.num_images": str(len(records)),
        "darkroom.num_ok": str(sum(record.status == OK for record in records)),
        "darkroom.versions": ", ".join(f"{name} {value}" for name, value in provenance.info.versions.items()),
        "darkroom.trust_remote_code": str(provenance.model.trust_remote_code).lower(),
    }


def retried_shard(store: Store, output: OutputInfo, task: RetryTask, attempt: int) -> ShardWork:
    """The samples of a committed shard's failed records."""
    try:
        before = store.get(manifest_key(task.shard))
    except NotFound:
        return _nothing_failed(store, task, attempt)
    table = manifest.parse(before)
    records = to_records(table)
    failed = [index for index, record in enumerate(records) if record.status == FAILED]
    attempt += max((record.attempt for record in records), default=0)
    of_rows = _places([record.row for record in records])
    places = [of_rows[index] for index in failed]
    wanted = [with_trajectory(recorded_sample(records[index], task.cell), output) for index in failed]
    suffix = f"-{hashlib.sha256(before).hexdigest()[:16]}"
    commit = partial(_revise, store, task.shard, before, table, records, failed)
    extras = extra_columns(table.take(pa.array(failed, pa.int64())))  # none where another command mended all
    return ShardWork(task.shard, task.cell, wanted, attempt, suffix, False, places, extras, commit)


def _nothing_failed(store: Store, task: RetryTask, attempt: int) -> ShardWork:
    """Another command rendered what had failed, and the manifest was removed from beside its copy since.

    Raises NotFound where there is no copy.
    """
    none = extra_columns(manifest.read(store, task.shard).slice(0, 0))
    return ShardWork(task.shard, task.cell, [], attempt, "", False, [], none, lambda records, provenance: False)


def _revise(
    store: Store,
    shard: Shard,
    before: bytes,
    table: pa.Table,
    old: Sequence[Record],
    failed: Sequence[int],
    new: Sequence[Record],
    _: Provenance,
) -> bool:
    """Put new records in the places of those that failed. Raises Revised where the manifest was replaced meanwhile."""
    by_place = dict(zip(failed, new, strict=True))
    records = [by_place.get(index, record) for index, record in enumerate(old)]
    if not manifest.revise(store, shard, before, to_table(records, extra_columns(table), manifest.texts(table.schema))):
        raise Revised(f"{manifest_key(shard)} was replaced by another job meanwhile")
    return True


def fault(sample: Sample, output: OutputInfo) -> str | None:
    """Why a sample is not worth rendering: its row is invalid, or no file of the run could hold it, or its mark."""
    height, width = sample.request.sampling.height, sample.request.sampling.width
    unmarked = mark_fault(height, width) if output.watermark else None
    return sample.row.error or size_fault(output.image_format, height, width) or unmarked


def overlays(work: ShardWork, output: OutputInfo) -> tuple[dict[int, Overlay], dict[int, str]]:
    """Texts that are drawn on the shard's images, and why some cannot be; by row, since a policy makes further images
    of a row, and all of these have its text."""
    if not output.overlay:
        return {}, {}
    settings, found, faults = OverlaySettings.of_text(output.overlay), dict[int, Overlay](), dict[int, str]()
    rows = rows_read(settings, [sample.row for sample in work.samples], work.extras)
    for sample, row in zip(work.samples, rows, strict=True):
        sampling, place = sample.request.sampling, sample.row.row
        try:
            overlay = overlay_of(row, settings)
            if overlay:
                found[place] = overlay
                check_fits(overlay, sampling.height, sampling.width)
        except OverlayFault as error:
            faults[place] = f"overlay: {error}"
    return found, faults


def report(records: Sequence[Record], wanted: Sequence[Sample], is_first: bool) -> ShardReport:
    """Of the records that an attempt made, one a sample."""
    failed = [record for record in records if record.status != OK]
    rejected = [each for record in records for each in read_rejected(record.policy_rejected)]
    seconds = [record.render_s or 0.0 for record in records] + [each.render_s or 0.0 for each in rejected]
    return ShardReport(
        num_ok=len(records) - len(failed),
        num_failed=len(failed),
        num_bytes=sum(
            (record.bytes or 0) + (record.trajectory_bytes or 0) + (record.c2pa_bytes or 0) for record in records
        ),
        render_s=sum(seconds),
        wall_s=0.0,
        is_first=is_first,
        num_invalid=sum(record.status == INVALID for record in records),
        num_filtered=sum(record.status == FILTERED for record in records),
        rejected=dict(Counter(each.reason for each in rejected)),
        num_unmarked=sum(record.watermark == NOT_FOUND for record in records),
        cost=math.fsum(record.render_cost or 0.0 for record in records),
        errors=tuple(f"row {record.row}: {record.error}" for record in failed[:3]),
        resized=tuple(_resized(records, wanted)),
    )


def _resized(records: Sequence[Record], wanted: Sequence[Sample]) -> set[str]:
    """Each change of size that the model made."""
    pairs = [(sample.request.sampling, record.sampling) for sample, record in zip(wanted, records, strict=True)]
    return {
        f"{asked.width}x{asked.height} to {made.width}x{made.height}"
        for asked, made in pairs
        if (asked.width, asked.height) != (made.width, made.height)
    }
