"""Brings a run that was started almost to its end without rendering: manifests of records, and no image behind them."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from darkroom.domain.cells import Cell
from darkroom.domain.images import samples
from darkroom.domain.records import Record
from darkroom.planning.plan import plan
from darkroom.planning.tasks import ShardTask, shard_tasks
from darkroom.prompts.opening import open_prompts
from darkroom.runs import manifest
from darkroom.runs.cells import read_cells
from darkroom.runs.keys import IMAGES_PREFIX, image_key
from darkroom.runs.reading import records
from darkroom.runs.records import to_table
from darkroom.runs.run import RunInfo, open_run
from darkroom.storage.opening import open_store
from darkroom.storage.store import StoreSpec


def commit_all_but_last(run: Path, prompts: Path) -> float:
    """Every shard but the last, with records like those of the shard that the run has; in seconds."""
    started = time.perf_counter()
    store = open_store(StoreSpec(str(run)))
    info, model = open_run(store), next(records(store))
    (cell,) = (found.cell for found in read_cells(store).values())
    for task in _left(info, cell, prompts, {name.shard_id for name in manifest.committed(store)}):
        if task.shard.stop < info.prompts.num_rows:
            manifest.commit(store, task.shard, to_table(list(_records(task, info, model)), task.extras, {}))
    return time.perf_counter() - started


def forget_last(run: Path) -> None:
    """As if no image of the last shard had been made."""
    store = open_store(StoreSpec(str(run)))
    num_rows = open_run(store).prompts.num_rows
    store.delete([name.key for name in manifest.committed(store) if name.stop == num_rows])
    shutil.rmtree(run / IMAGES_PREFIX, ignore_errors=True)


def _left(info: RunInfo, cell: Cell, prompts: Path, committed: set[str]) -> Iterator[ShardTask]:
    shards = plan(info.prompts.num_rows, info.shard_size, [cell.cell_id], info.prompts.fingerprint, committed)
    return shard_tasks(shards, {cell.cell_id: cell}, open_prompts(str(prompts)).blocks)


def _records(task: ShardTask, info: RunInfo, model: Record) -> Iterator[Record]:
    for row in task.rows:
        for sample in samples(row, task.cell, info.seed, info.num_images_per_prompt):
            request = sample.request
            yield replace(
                model,
                image_id=request.image_id,
                prompt_id=row.prompt_id,
                prompt=row.prompt,
                seed=request.seed,
                row=row.row,
                shard_id=task.shard.shard_id,
                key=image_key(request.image_id, "png"),
            )
