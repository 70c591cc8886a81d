"""Reading a run: its records, what is committed and left, how fast it grows, and which images are there, always by way
of its manifests.

What no manifest names does not exist.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import nsmallest
from itertools import islice
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from darkroom.domain.identity import Cell, ModelIdentity, Shard
from darkroom.domain.records import OK, ImageRequest, PromptRow, Record, Sample, adapters_of, recorded_pictures
from darkroom.domain.settings import IMAGE_SETTINGS, ROW_SETTINGS
from darkroom.runs import manifest
from darkroom.runs.bulk import Part, read_each, read_parts
from darkroom.runs.cells import CellInfo, cell_of
from darkroom.runs.listing import Committed, committed_shards
from darkroom.runs.manifest import to_records
from darkroom.runs.policy_counts import POLICY_COLUMNS, PolicyCount
from darkroom.runs.run import RunInfo
from darkroom.runs.watermarks import NOT_FOUND
from darkroom.storage.store import Store

_RECENT = timedelta(minutes=10)  # of the commits that tell the pace
_MAX_REASONS = 1000  # told apart, so that counting them takes little memory whatever fails
_OF_CELL = frozenset(each.name for each in IMAGE_SETTINGS if not each.row)  # settings that no row overrides
SIZES = ("bytes", "c2pa_bytes", "trajectory_bytes")  # columns: of what a record names
PRESENCE_COLUMNS = ("image_id", "status", "sha256")  # of a record, that decide it


@dataclass(frozen=True)
class Pace:
    """Rows are prompt rows; those of several cells count once each."""

    last_commit: datetime | None = None  # UTC; None where nothing is committed
    rows_per_s: float | None = None  # over the last ten minutes of commits; None where too few tell

    def age_s(self, now: datetime) -> float | None:
        """Seconds since the last commit; a store's clock may be ahead of this machine's."""
        return None if self.last_commit is None else max(0.0, (now - self.last_commit).total_seconds())

    def left_s(self, num_rows: int) -> float | None:
        """Seconds that so many rows take at this pace."""
        return num_rows / self.rows_per_s if self.rows_per_s else None


class Commits:
    """Shards as they are found, in any order; in memory are those of the last ten minutes alone."""

    def __init__(self) -> None:
        self.last: datetime | None = None
        self._recent: list[tuple[datetime, int]] = []  # when a manifest was written last, and its prompt rows
        self._room = 1000

    def add(self, shard: Shard, written: datetime) -> None:
        self.last = written if self.last is None else max(self.last, written)
        self._recent.append((written, shard.num_rows))
        if len(self._recent) > self._room:
            self._recent = self._of_last_minutes()
            self._room = max(self._room, 2 * len(self._recent))

    def _of_last_minutes(self) -> list[tuple[datetime, int]]:
        return [(at, rows) for at, rows in self._recent if self.last and at >= self.last - _RECENT]

    def __add__(self, other: "Commits") -> "Commits":
        both = Commits()
        both.last = max((each.last for each in (self, other) if each.last), default=None)
        both._recent = self._recent + other._recent
        return both

    @property
    def pace(self) -> Pace:
        """The first of the recent commits only starts the clock: when its rows were begun is not known."""
        recent = self._of_last_minutes()
        if self.last is None or not recent:
            return Pace()
        first = min(at for at, _ in recent)
        seconds = (self.last - first).total_seconds()
        rows = sum(rows for at, rows in recent if at > first)
        return Pace(self.last, rows / seconds if seconds > 0 else None)


@dataclass
class CellState:
    """What of one cell is committed and what is left."""

    num_shards: int  # of the whole cell
    num_rows_left: int
    num_committed: int = 0  # shards
    commits: Commits = field(default_factory=Commits)
    by_status: Counter[str] = field(default_factory=Counter)  # records
    errors: Counter[str] = field(default_factory=Counter)  # reasons of records that are not ok
    num_truncated: int = 0
    num_unmarked: int = 0  # images in whose file the run's watermark is not found
    num_bytes: int = 0
    policy: PolicyCount = field(default_factory=PolicyCount)


def states(store: Store, run: RunInfo, cell_ids: Iterable[str]) -> dict[str, CellState]:
    """Each cell's state: every committed record counted by its status, from the few columns that say so."""
    num_rows = run.prompts.num_rows
    found = {cell_id: CellState(run.num_shards, num_rows) for cell_id in cell_ids}
    shards = (committed for committed in committed_shards(store) if committed.shard.cell_id in found)
    columns = [*POLICY_COLUMNS, "error", "truncated", "watermark", *SIZES]
    for part in read_parts(store, shards, columns):
        _count(found[part.shards[0].shard.cell_id], part)
    return found


def _count(state: CellState, part: Part) -> None:
    table = part.table
    for each in part.shards:
        state.num_committed += 1
        state.num_rows_left -= each.shard.num_rows
        state.commits.add(each.shard, each.written)
    state.by_status.update(table["status"].to_pylist())
    state.policy.add(table)
    for error in filter(None, table["error"].to_pylist()):
        state.errors[error if len(state.errors) < _MAX_REASONS or error in state.errors else "other reasons"] += 1
    state.num_truncated += pc.sum(table["truncated"]).as_py() or 0
    state.num_unmarked += table["watermark"].to_pylist().count(NOT_FOUND)
    state.num_bytes += num_stored(table)


def num_stored(table: pa.Table) -> int:
    """Bytes of what these records, with the columns SIZES, name."""
    return sum(pc.sum(table[name]).as_py() or 0 for name in SIZES)


def count_statuses(store: Store, shards: Iterable[Committed] | None = None) -> Counter[str]:
    """Records of these shards by their status; None: of all."""
    counts = Counter[str]()
    for part in read_parts(store, shards, ["status"]):
        counts.update(part.table["status"].to_pylist())
    return counts


def records(store: Store) -> Iterator[Record]:
    """Every committed record, shard by shard."""
    return (record for _, table in read_each(store) for record in to_records(table))


def as_in_cell(table: pa.Table, cell_id: str, cells: Mapping[str, CellInfo]) -> pa.Table:
    """A cell's records, or some of their columns; a setting that they are older than is as the cell has it."""
    sampling = cell_of(cells, cell_id).image_sampling
    for name in table.column_names:
        value = getattr(sampling, name) if name in _OF_CELL else None
        if value is not None and table[name].null_count:
            field = table.schema.field(name)
            filled = pc.fill_null(table[name], pa.scalar(value, field.type))
            table = table.set_column(table.column_names.index(name), field, filled)
    return table


def sample(store: Store, count: int, seed: int) -> list[Record]:
    """`count` committed images, or all where there are fewer; which ones depends on the seed and their ids alone."""
    ranked = (
        (hashlib.sha256(f"{seed}:{image_id}".encode()).hexdigest(), shard, index)
        for shard, index, image_id in _images(store)
    )
    return [_record_at(store, shard, index) for _, shard, index in nsmallest(count, ranked, key=itemgetter(0))]


def find_image(store: Store, wanted: str) -> list[Record]:
    """The record of a committed image; nothing where there is none of this id."""
    found = ((shard, index) for shard, index, image_id in _images(store) if image_id == wanted)
    return [_record_at(store, *place) for place in islice(found, 1)]


def _images(store: Store) -> Iterator[tuple[Shard, int, str]]:
    """Shard, row of its records and image_id of every committed image."""
    for shard, table in read_each(store, columns=["image_id", "status"]):
        for index, (image_id, status) in enumerate(zip(*(column.to_pylist() for column in table.columns), strict=True)):
            if status == OK:
                yield shard, index, image_id


def _record_at(store: Store, shard: Shard, index: int) -> Record:
    [record] = to_records(manifest.read(store, shard).slice(index, 1))
    return record


@dataclass(frozen=True)
class PresentImages:
    """Equal for equal images alone: the same ones, with the same files."""

    count: int
    digest: str


@dataclass
class Presence:
    """Gathers a cell's images from its manifests, in order of key."""

    count: int = 0
    _lines: Any = field(default_factory=hashlib.sha256)

    def add(self, table: pa.Table) -> None:
        """Records that follow in that order, with PRESENCE_COLUMNS at least."""
        for image_id, status, sha256 in zip(*(table[name].to_pylist() for name in PRESENCE_COLUMNS), strict=True):
            if status == OK:
                self.count += 1
                self._lines.update(f"{image_id} {sha256}\n".encode())

    @property
    def images(self) -> PresentImages:
        return PresentImages(self.count, self._lines.hexdigest())


def present_images(store: Store, shards: Iterable[Committed] | None = None) -> dict[str, PresentImages]:
    """cell_id -> its images in these shards, or in all, of every cell that has one; shards in order of key."""
    found: dict[str, Presence] = {}
    for part in read_parts(store, shards, PRESENCE_COLUMNS):
        found.setdefault(part.shards[0].shard.cell_id, Presence()).add(part.table)
    return {cell_id: presence.images for cell_id, presence in found.items() if presence.count}


# Requests that records answer ----------------------------------------------------------------------------------------


def recorded_request(record: Record, cell: Cell) -> ImageRequest:
    """The request that a record of this cell answers: enough to render its image again.

    What no row overrides is the cell's own: a run may be older than the column of a setting.
    """
    given = {each.name: getattr(record.sampling, each.name) for each in ROW_SETTINGS if each.of_image}
    sampling = replace(cell.image_sampling, **given)
    return ImageRequest(
        record.image_id,
        record.prompt,
        record.seed,
        sampling,
        adapters_of(cell, sampling, record.prompt),
        pictures=recorded_pictures(record),
    )


def model_as_recorded(model: ModelIdentity, record: Record) -> ModelIdentity:
    """The cell's model by the name that this record's file has for it: another attempt may have called it otherwise."""
    return replace(model, repo_id=record.model)


def recorded_sample(record: Record, cell: Cell) -> Sample:
    row = PromptRow(row=record.row, prompt_id=record.prompt_id, prompt=record.prompt)
    return Sample(row, record.sample_index, recorded_request(record, cell))
