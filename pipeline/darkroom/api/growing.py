"""Runs that grow: which rows of a dataset a run has, which are new, and in which order it has them.

Rows are known by their ids. Where a dataset begins with all rows of the run, in their order, which a digest in
run.json tells, nothing else is read. Otherwise the run's records say which rows it has, and the order that it has them
in is stored beside it, since those rows may be anywhere in the dataset.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from darkroom.api.checking import Checked
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Shard
from darkroom.domain.records import OK, PromptRow, Record, samples
from darkroom.prompts.dataset import PromptBlock, PromptDataset, PromptScan
from darkroom.prompts.ordered import ordered_rows
from darkroom.prompts.sources import shown
from darkroom.runs import manifest
from darkroom.runs.bulk import read_each
from darkroom.runs.cells import CellInfo, cell_of, read_cells
from darkroom.runs.files import RUN_KEY, order_key
from darkroom.runs.listing import Committed, committed_shards
from darkroom.runs.manifest import to_records
from darkroom.runs.reading import as_in_cell
from darkroom.runs.run import PromptsInfo, RunInfo, find_run, grow
from darkroom.storage.store import NotFound, Store

MOST_REORDERED = 10_000_000  # rows, whose ids and order are held in memory
_ROW = "row"  # the one column of a stored order


@dataclass(frozen=True)
class Growth:
    """A dataset that has all rows of a run."""

    run: RunInfo  # as it was
    prompts: PromptsInfo  # that it grows to; what it has where nothing is new
    order: np.ndarray | None  # (N,) the dataset's row of each of the run's; None: they are in their places

    @property
    def num_new(self) -> int:
        return self.prompts.num_rows - self.run.prompts.num_rows

    @property
    def text(self) -> str:
        """For people."""
        moved = "" if self.order is None else ", in another order"
        there = f"the run's {self.run.prompts.num_rows:,} rows are all there{moved}"
        return f"{there}; {f'it grows by {self.num_new:,} more' if self.num_new else 'none is new'}"


def growth_of(found: Checked, wanted: PromptsInfo, store: Store) -> Growth | None:
    """What the run at this store becomes by the dataset of a request that grows it, whose description is `wanted`.

    None where there is no run, or it has this very dataset. Raises DarkroomError where a row of the run is not there,
    or says something else.
    """
    run = find_run(store) if found.request.prompts.grow else None
    if run is None or wanted.fingerprint == run.prompts.fingerprint:
        return None
    dataset, scan = found.request.prompts.dataset, found.scan
    _check_types(store, run, scan)
    known = run.prompts.num_rows
    if wanted.num_rows >= known and run.prompts.rows and dataset.rows_digest(known) == run.prompts.rows:
        order = _stored_order(store, run.prompts)
        if order is not None:
            order = np.concatenate([order, np.arange(known, wanted.num_rows)])
    else:
        matched = _matched(dataset, wanted, store, run)
        if scan.has_given_ids:
            _check_contents(dataset, store, run, matched)
        order = None if np.array_equal(matched, np.arange(len(matched))) else matched
    if wanted.num_rows == known:
        return Growth(run, run.prompts, order)
    return Growth(run, replace(wanted, order="" if order is None else _digest(order)), order)


def grown(store: Store, run: RunInfo, growth: Growth) -> RunInfo:
    """The run, once it has grown. Raises DarkroomError where another command grew it otherwise meanwhile."""
    if not growth.num_new:
        return run
    if growth.order is not None:  # which run.json is not to name before it is there
        buffer = io.BytesIO()
        pq.write_table(pa.table({_ROW: growth.order}), buffer, compression="zstd")
        store.put_if_absent(order_key(growth.prompts.order), buffer.getvalue())
    return grow(store, growth.run, growth.prompts)


def order_of(store: Store, run: RunInfo) -> np.ndarray | None:
    """As `Growth.order`, of the dataset that the run was last grown to."""
    return _stored_order(store, run.prompts)


def run_rows(dataset: PromptDataset, order: np.ndarray | None, run: RunInfo, start: int) -> Iterator[PromptBlock]:
    """The run's rows from `start` on, as its shards number them; a row itself says where it is in the dataset."""
    for part in run.parts:
        skipped = max(0, start - part.start)
        if skipped < part.num_rows:
            first, stop = part.first_row + skipped, part.first_row + part.num_rows
            for block in _range(dataset, order, first, stop):
                yield replace(block, start=part.start + skipped + block.start)


def _range(dataset: PromptDataset, order: np.ndarray | None, first: int, stop: int) -> Iterator[PromptBlock]:
    """Rows [first, stop) of the run's, counted from 0."""
    if order is not None:
        yield from ordered_rows(dataset, order[first:stop])
        return
    for block in dataset.blocks(first):
        left = stop - block.start
        yield PromptBlock(block.start - first, block.rows[:left], block.extras.slice(0, left))
        if len(block.rows) >= left:
            return


def _digest(order: np.ndarray) -> str:
    return hashlib.sha256(order.astype("<i8").tobytes()).hexdigest()


def _stored_order(store: Store, prompts: PromptsInfo) -> np.ndarray | None:
    if not prompts.order:
        return None
    key = order_key(prompts.order)
    try:
        order: np.ndarray = pq.read_table(io.BytesIO(store.get(key)))[_ROW].to_numpy()
    except (NotFound, pa.ArrowException, KeyError):
        order = np.empty(0, np.int64)
    if _digest(order) != prompts.order:
        raise DarkroomError(f"{store.describe(key)}: the order of the run's rows is missing or damaged; restore it")
    return order


# Rows in another order -----------------------------------------------------------------------------------------------


def _matched(dataset: PromptDataset, wanted: PromptsInfo, store: Store, run: RunInfo) -> np.ndarray:
    """(N,) the dataset's row of each of the run's, by their ids, and then the other rows."""
    most = max(wanted.num_rows, run.prompts.num_rows)
    if most > MOST_REORDERED:
        raise DarkroomError(
            f"prompts.grow=true: {wanted.name} does not begin with the {run.prompts.num_rows:,} rows of the run, and "
            f"rows in another order are at most {MOST_REORDERED:,}, in memory; add rows at the end"
        )
    there = pa.array(_ids_there(store, run), pa.string())
    given = pa.array([row.prompt_id for block in dataset.blocks() for row in block.rows], pa.string())
    places = pc.index_in(there, value_set=given)
    if places.null_count:
        raise _vanished(wanted, store, run, pc.is_null(places).to_numpy(zero_copy_only=False))
    known = places.to_numpy().astype(np.int64)
    is_new = np.ones(len(given), bool)
    is_new[known] = False
    return np.concatenate([known, np.flatnonzero(is_new)])


def _ids_there(store: Store, run: RunInfo) -> Iterator[str]:
    """Of the run's rows, in its order."""
    found = {shard.start: _ids(table) for shard, table in read_each(store, _one_cell(store), ["row", "prompt_id"])}
    missing = [start for start in run.first_rows if start not in found]
    if missing:
        raise DarkroomError(
            f"{store.describe(RUN_KEY)}: the prompts do not begin with the {run.prompts.num_rows:,} rows of this run, "
            f"and {len(missing):,} of its shards are not rendered yet, so that their rows are not known; end the run "
            "with the prompts that it has, or add rows at their end alone"
        )
    return chain.from_iterable(found[start] for start in run.first_rows)


def _ids(table: pa.Table) -> list[str]:
    """One for each row of a shard."""
    once = dict.fromkeys(zip(table["row"].to_pylist(), table["prompt_id"].to_pylist(), strict=True))
    return [prompt_id for _, prompt_id in once]


def _one_cell(store: Store) -> Iterator[Committed]:
    """For each range of rows a shard of one of the cells."""
    seen: set[int] = set()
    for committed in committed_shards(store):
        if committed.shard.start not in seen:
            seen.add(committed.shard.start)
            yield committed


def _vanished(wanted: PromptsInfo, store: Store, run: RunInfo, is_missing: np.ndarray) -> DarkroomError:
    first, count = int(np.argmax(is_missing)), int(is_missing.sum())
    part = next(each for each in run.parts if first < each.first_row + each.num_rows)
    start = part.start + (first - part.first_row) // run.shard_size * run.shard_size
    committed = next(each for each in _one_cell(store) if each.shard.start == start)
    table = manifest.read(store, committed.shard, ["row", "prompt_id", "prompt"])
    gone = _ids(table)[(first - part.first_row) % run.shard_size]
    prompt = table["prompt"][table["prompt_id"].to_pylist().index(gone)].as_py()
    rows = "1 row of the run is" if count == 1 else f"{count:,} rows of the run are"
    return DarkroomError(
        f"prompts.grow=true: {rows} not in {wanted.name}, the first of them {shown(prompt)} (prompt_id {shown(gone)}); "
        "put back what was removed or changed, or use another output.uri"
    )


def _check_contents(dataset: PromptDataset, store: Store, run: RunInfo, order: np.ndarray) -> None:
    """Raises DarkroomError for the first row that has the id of a row of the run, and says something else."""
    cells = read_cells(store)
    rows = chain.from_iterable(block.rows for block in run_rows(dataset, order, run, 0))
    in_order = sorted(_one_cell(store), key=lambda committed: committed.shard.start)
    for shard, table in read_each(store, in_order):
        found = to_records(as_in_cell(table, shard.cell_id, cells))
        _check_rows(list(islice(rows, shard.num_rows)), found, shard, run, cells)


def _check_rows(
    rows: Sequence[PromptRow], found: Sequence[Record], shard: Shard, run: RunInfo, cells: Mapping[str, CellInfo]
) -> None:
    cell = cell_of(cells, shard.cell_id)
    there = {(record.prompt_id, record.sample_index): record for record in found}
    for row in rows:
        wanted = list(samples(row, cell, run.seed, run.num_images_per_prompt))
        known = [there.get((row.prompt_id, sample.sample_index)) for sample in wanted]
        num_known = sum(record.prompt_id == row.prompt_id for record in found)
        changed = "num_images_per_prompt" if None in known or len(wanted) != num_known else ""
        for sample, record in zip(wanted, known, strict=True):
            if record and record.status == OK and not changed:
                now = {**vars(sample.request.sampling), "prompt": row.prompt, "seed": sample.request.seed}
                then = {**vars(record.sampling), "prompt": record.prompt, "seed": record.seed}
                changed = next((name for name, value in now.items() if then[name] != value), "")
        if changed:
            raise DarkroomError(
                f"prompts.grow=true: row {row.row} has the prompt_id {shown(row.prompt_id)} of a row of the run, and "
                f"another {changed} than then; put back what it was, give it an id of its own, or use another "
                "output.uri"
            )


def _check_types(store: Store, run: RunInfo, scan: PromptScan) -> None:
    """Extra columns keep their types, so that all records can be read as one table."""
    first = next(manifest.committed(store), None)
    there = manifest.extra_columns(manifest.read(store, first)).schema if first else pa.schema([])
    for field in scan.extras_schema:
        index = there.get_field_index(field.name)
        if index >= 0 and there.field(index).type != field.type:
            raise DarkroomError(
                f"prompts.grow=true: column {field.name!r} is {field.type}, and {there.field(index).type} in the run; "
                "make it that type"
            )
