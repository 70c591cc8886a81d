"""Runs that benchmarks make are real ones, begin together, and are timed without loading, filling and the tail."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from darkroom.bench.commands import commit_all_but_last, forget_last
from darkroom.bench.darkroom_run import Commit, WorkerBarrier, local_dispatcher, render_job, steady, whole
from darkroom.bench.scale_out import Idler, SleeperSpec
from darkroom.bench.work import captions, requests
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef
from darkroom.engine.spec import WorkerSpec
from darkroom.runs import manifest
from darkroom.runs.cells import CellInfo, add_cells
from darkroom.runs.files import manifest_key
from darkroom.runs.reading import records
from darkroom.storage.store import StoreSpec, open_store
from tests.bench.painting import paint_work
from tests.processes import forks


@pytest.mark.slow
def test_what_is_measured_is_committed(tmp_path: Path) -> None:
    work = paint_work(tmp_path, num_images=6)
    clock = render_job(work, tmp_path / "run", local_dispatcher)
    assert [commit.count for commit in clock.commits] == [2, 2, 2]
    assert list(clock.ready_at) == ["local"]
    found = {record.image_id for record in records(open_store(StoreSpec(str(tmp_path / "run"))))}
    assert found == {request.image_id for request in requests(work)}


@pytest.mark.slow
def test_a_sleeper_is_a_worker_that_takes_its_time(tmp_path: Path) -> None:
    work = paint_work(tmp_path, num_images=4, shard_size=1)

    def sleeper(spec: WorkerSpec) -> SleeperSpec:
        return SleeperSpec(spec.run, work.model.identity, spec.store, 0.1)

    begun = time.monotonic()
    clock = render_job(work, tmp_path / "run", local_dispatcher, sleeper)
    assert sum(commit.count for commit in clock.commits) / (time.monotonic() - begun) <= 10


@pytest.mark.slow
def test_a_run_is_brought_to_its_last_shard_with_the_records_that_rendering_makes(tmp_path: Path) -> None:
    work, run = paint_work(tmp_path, num_images=7), tmp_path / "run"
    render_job(work, run, local_dispatcher)
    store = open_store(StoreSpec(str(run)))
    add_cells(store, {work.cell.cell_id: CellInfo(ModelRef("darkroom/paint"), work.cell)})
    real = [(record.image_id, record.row, record.seed, record.shard_id, record.key) for record in records(store)]
    store.delete([manifest_key(shard) for shard in list(manifest.committed(store))[1:]])
    commit_all_but_last(run, work.prompts)
    assert [(each.image_id, each.row, each.seed, each.shard_id, each.key) for each in records(store)] == real[:6]
    forget_last(run)
    assert [name.stop for name in manifest.committed(store)] == [2, 4, 6]
    assert not (run / "images").exists()


@pytest.mark.parametrize("count", [1, 300])
def test_captions_differ(count: int) -> None:
    assert len(set(captions(count))) == count


def _met_at(gate: WorkerBarrier) -> float:
    gate()
    return time.time()


@pytest.mark.slow
def test_nobody_begins_before_the_last_one_is_loaded(tmp_path: Path) -> None:
    gate = WorkerBarrier(Idler, tmp_path, 2)
    with forks(2) as pool, ThreadPoolExecutor(1) as waiting:
        first = waiting.submit(pool.apply, _met_at, (gate,))
        while not list(tmp_path.iterdir()):
            time.sleep(0.01)
        assert not first.done()
        second = pool.apply(_met_at, (gate,))
        assert abs(first.result() - second) < 5
    assert len(list(tmp_path.iterdir())) == 2


def test_one_worker_waits_for_nobody(tmp_path: Path) -> None:
    assert isinstance(WorkerBarrier(Idler, tmp_path, 1)(), Idler)


# `slow` is ready late, and ends early.
COMMITS = [Commit("fast", float(at), 4) for at in range(1, 11)] + [Commit("slow", float(at), 4) for at in (4, 6, 8)]


def test_steady_adds_up_the_workers_while_all_are_busy() -> None:
    found = steady(COMMITS)
    assert found.rate == pytest.approx(4.0 + 2.0)  # an image in 1/4 s, and one in 1/2 s
    assert found.count == 16 + 8


def test_whole_counts_what_came_after_the_last_worker_was_warm() -> None:
    assert whole(COMMITS) == whole(COMMITS[::-1])
    assert (whole(COMMITS).count, whole(COMMITS).seconds) == (6 * 4 + 2 * 4, 6.0)
    assert whole(COMMITS, end_s=12.0).seconds == 8.0


@pytest.mark.parametrize("rate", [steady, whole])
def test_too_little_work_says_so(rate: object) -> None:
    with pytest.raises(DarkroomError, match="larger scale"):
        rate([Commit("one", 1.0, 4), Commit("two", 2.0, 4)])  # type: ignore[operator]
