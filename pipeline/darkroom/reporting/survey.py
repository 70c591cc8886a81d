"""One pass over a run's manifests: counts, times, scores, and which images are worth showing.

Its memory depends on the number of cells, not on that of images.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from darkroom.domain.identity import Shard
from darkroom.domain.records import OK
from darkroom.domain.settings import ROW_SETTINGS
from darkroom.evaluation.latest import ImageScores
from darkroom.reporting.sampling import Breakdown, Extremes, ImageRef, PromptChoice, Subsample
from darkroom.runs.bulk import read_each
from darkroom.runs.features import ShardFeatures, get_features
from darkroom.runs.listing import committed_shards
from darkroom.runs.manifest import RECORD_SCHEMA, WithExtras
from darkroom.runs.policy_counts import POLICY_COLUMNS, PolicyCount
from darkroom.runs.reading import PRESENCE_COLUMNS, SIZES, Presence, num_stored
from darkroom.storage.store import Store, prefetched

MOST_SCORES = 2000  # of a cell
MOST_FAILURES = 100
NUM_PICKS = 6  # best, median and worst, each
_MOST_REASONS = 1000  # told apart
_IDENTITY = ("image_id", "prompt_id", "row", "status", "error", "sha256")
_VERSIONS = ("darkroom_version", "torch_version", "diffusers_version", "openvino_version")
_SCHEDULER = ("scheduler", "scheduler_config")
_PROVENANCE = ("is_seeded", "watermark", *_VERSIONS, "device", "dtype", "batch_size")
_SUMS = ("render_s", "render_cost", *SIZES, "truncated", "created_at")
# Columns of a record that may differ between the rows of one cell.
_GROUPING = ("truncated", *(each.name for each in ROW_SETTINGS if each.of_image and each.kind is not str))
_COLUMNS = frozenset((*_IDENTITY, *POLICY_COLUMNS, *_PROVENANCE, *_SCHEDULER, *_SUMS, *_GROUPING))


@dataclass
class CellCount:
    """What of one cell is committed."""

    num_rows: int = 0
    by_status: Counter[str] = field(default_factory=Counter)  # records
    presence: Presence = field(default_factory=Presence)  # which images are there
    policy: PolicyCount = field(default_factory=PolicyCount)
    image_s: float = math.inf  # on the device, of the median image of the fastest shard: pauses and compilations apart

    @property
    def num_failed(self) -> int:
        return self.by_status.total() - self.by_status[OK]


@dataclass
class Provenance:
    """How a run's records were made."""

    values: dict[str, Counter[Any]] = field(
        default_factory=lambda: {name: Counter() for name in _PROVENANCE}
    )  # records
    reasons: Counter[str] = field(default_factory=Counter)  # of records without an image
    schedulers: Counter[tuple[str, str]] = field(default_factory=Counter)  # (name, JSON of class and options): records
    num_truncated: int = 0
    num_bytes: int = 0
    render_s: float = 0.0
    render_cost: float = 0.0  # by the renderer's price
    num_timed: int = 0  # images with a time on the device
    first: datetime | None = None  # record's creation
    last: datetime | None = None
    num_first: int = 0  # images of the shard whose record came first


@dataclass
class Survey:
    """What the pass found."""

    counts: dict[str, CellCount]  # by cell_id
    prompts: PromptChoice
    provenance: Provenance = field(default_factory=Provenance)
    failures: list[ImageRef] = field(default_factory=list)
    best: Extremes = field(default_factory=lambda: Extremes(NUM_PICKS, 1))
    worst: Extremes = field(default_factory=lambda: Extremes(NUM_PICKS, -1))
    scores: dict[str, Subsample] = field(default_factory=dict)  # by cell_id
    breakdown: Breakdown = field(default_factory=Breakdown)
    num_stale: int = 0  # images whose features are not those of the bytes that are there now


@dataclass(frozen=True)
class _ShardRecords:
    shard: Shard
    table: pa.Table
    scores: Mapping[str, float] = field(default_factory=dict)  # image_id -> finite score
    num_stale: int = 0


def survey(
    store: Store,
    cell_ids: Iterable[str],
    choice: PromptChoice,
    image_scores: ImageScores | None,
    axes: Collection[str] = (),
) -> Survey:
    """Every committed shard of these cells, with their images' scores where there are any.

    `axes`: columns that tell cells apart, and so say nothing about prompts.
    """
    found = Survey({cell_id: CellCount() for cell_id in cell_ids}, choice)
    if image_scores and not image_scores.metric.higher_is_better:
        found.best, found.worst = found.worst, found.best
    shards = (committed for committed in committed_shards(store) if committed.shard.cell_id in found.counts)
    tables = read_each(store, shards, WithExtras(_COLUMNS))
    left_out = {name for name in RECORD_SCHEMA.names if name in axes or name not in _GROUPING}
    for records in prefetched(tables, lambda item: _with_scores(store, _ShardRecords(*item), image_scores)):
        _count(found.counts[records.shard.cell_id], records)
        found.num_stale += records.num_stale
        _add_provenance(found.provenance, records.table)
        _add_images(found, records)
        _add_breakdown(found, records, left_out)
    return found


def _with_scores(store: Store, records: _ShardRecords, image_scores: ImageScores | None) -> _ShardRecords:
    if image_scores is None:
        return records
    return _scored(records, get_features(store, image_scores.metric.extractor_id, records.shard), image_scores)


def _scored(records: _ShardRecords, found: ShardFeatures | None, image_scores: ImageScores) -> _ShardRecords:
    """With the scores of exactly the files that its records name."""
    columns = (records.table[name].to_pylist() for name in PRESENCE_COLUMNS)
    ok = [(image_id, sha256) for image_id, status, sha256 in zip(*columns, strict=True) if status == OK]
    places = {image_id: found.place(image_id, sha256) if found else None for image_id, sha256 in ok}
    known = {image_id: place for image_id, place in places.items() if place is not None}
    scores = image_scores.of(found.images.taken([*known.values()])).tolist() if found else []
    finite = {image_id: score for image_id, score in zip(known, scores, strict=True) if math.isfinite(score)}
    return replace(records, scores=finite, num_stale=len(ok) - len(known))


def _count(count: CellCount, records: _ShardRecords) -> None:
    count.num_rows += records.shard.stop - records.shard.start
    count.by_status.update(records.table["status"].to_pylist())
    count.presence.add(records.table)
    count.policy.add(records.table)
    count.image_s = min(count.image_s, _median(records.table["render_s"]))


def _median(values: pa.ChunkedArray) -> float:
    (median,) = pc.quantile(values, 0.5).to_pylist()
    return median or math.inf


def _add_provenance(provenance: Provenance, table: pa.Table) -> None:
    for name, counter in provenance.values.items():
        counter.update(value for value in table[name].to_pylist() if value is not None)
    pairs = zip(*(table[name].to_pylist() for name in _SCHEDULER), strict=True)
    provenance.schedulers.update((name, config) for name, config in pairs if config)
    for reason in filter(None, table["error"].to_pylist()):
        known = len(provenance.reasons) < _MOST_REASONS or reason in provenance.reasons
        provenance.reasons[reason if known else "other reasons"] += 1
    provenance.num_truncated += pc.sum(table["truncated"]).as_py() or 0
    provenance.num_bytes += num_stored(table)
    provenance.render_s += pc.sum(table["render_s"]).as_py() or 0.0
    provenance.render_cost += pc.sum(table["render_cost"]).as_py() or 0.0
    provenance.num_timed += len(table) - table["render_s"].null_count
    _add_times(provenance, table)


def _add_times(provenance: Provenance, table: pa.Table) -> None:
    if not len(table):
        return
    times = pc.min_max(table["created_at"]).as_py()
    if provenance.first is None or times["min"] < provenance.first:
        provenance.first, provenance.num_first = times["min"], table["status"].to_pylist().count(OK)
    provenance.last = times["max"] if provenance.last is None else max(provenance.last, times["max"])


def _add_images(found: Survey, records: _ShardRecords) -> None:
    cell_id = records.shard.cell_id
    columns = (records.table[name].to_pylist() for name in ("image_id", "prompt_id", "row", "status"))
    places = Counter[int]()  # images of each row so far: a row is whole in its shard, with its images in order
    for index, (image_id, prompt_id, row, status) in enumerate(zip(*columns, strict=True)):
        image = ImageRef(image_id, prompt_id, places[row], records.shard, index, records.scores.get(image_id))
        places[row] += 1
        if status != OK:
            if len(found.failures) < MOST_FAILURES:
                found.failures.append(image)
            continue
        found.prompts.add(image)
        if image.score is not None:
            found.scores.setdefault(cell_id, Subsample(MOST_SCORES)).add(image)
            found.best.add(image)
            found.worst.add(image)


def _add_breakdown(found: Survey, records: _ShardRecords, left_out: set[str]) -> None:
    ids = records.table["image_id"].to_pylist()
    rows = [row for row, image_id in enumerate(ids) if image_id in records.scores]
    if rows:
        columns = records.table.select([name for name in records.table.column_names if name not in left_out])
        found.breakdown.add(records.shard.cell_id, columns, rows, [records.scores[ids[row]] for row in rows])
