"""Runs that benchmarks make are real ones, and can be brought almost to their end without rendering."""

from pathlib import Path

import pytest

from darkroom.bench import ours
from darkroom.bench.far_run import commit_all_but_last, forget_last
from darkroom.bench.log import steady
from darkroom.bench.sleeper import SleeperSpec
from darkroom.bench.work import captions, requests
from darkroom.domain.cells import ModelRef
from darkroom.engine.spec import WorkerSpec
from darkroom.runs import manifest
from darkroom.runs.cells import CellInfo, add_cells
from darkroom.runs.keys import manifest_key
from darkroom.runs.reading import records
from darkroom.storage.opening import open_store
from darkroom.storage.store import StoreSpec
from tests.bench.painting import paint_work


def test_what_is_measured_is_committed(tmp_path: Path) -> None:
    work = paint_work(tmp_path, num_images=6)
    clock = ours.rendered(work, tmp_path / "run", ours.on_one)
    assert [commit.count for commit in clock.commits] == [2, 2, 2]
    assert list(clock.ready_at) == ["local"]
    found = {record.image_id for record in records(open_store(StoreSpec(str(tmp_path / "run"))))}
    assert found == {request.image_id for request in requests(work)}


def test_a_sleeper_is_a_worker_that_takes_its_time(tmp_path: Path) -> None:
    work = paint_work(tmp_path, num_images=4, shard_size=1)

    def sleeper(spec: WorkerSpec) -> SleeperSpec:
        return SleeperSpec(spec.run, work.model.identity, spec.store, 0.1)

    clock = ours.rendered(work, tmp_path / "run", ours.on_one, sleeper)
    assert steady(clock.commits).rate <= 10.5


def test_a_run_is_brought_to_its_last_shard_with_the_records_that_rendering_makes(tmp_path: Path) -> None:
    work, run = paint_work(tmp_path, num_images=7), tmp_path / "run"
    ours.rendered(work, run, ours.on_one)
    store = open_store(StoreSpec(str(run)))
    add_cells(store, {work.cell.cell_id: CellInfo(ModelRef("darkroom/paint"), work.cell)})
    real = [(record.image_id, record.row, record.seed, record.shard_id, record.key) for record in records(store)]
    store.delete([manifest_key(name) for name in list(manifest.committed(store))[1:]])
    commit_all_but_last(run, work.prompts)
    assert [(each.image_id, each.row, each.seed, each.shard_id, each.key) for each in records(store)] == real[:6]
    forget_last(run)
    assert [name.stop for name in manifest.committed(store)] == [2, 4, 6]
    assert not (run / "images").exists()


@pytest.mark.parametrize("count", [1, 300])
def test_captions_differ(count: int) -> None:
    assert len(set(captions(count))) == count
