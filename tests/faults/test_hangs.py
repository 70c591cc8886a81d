"""A renderer that never comes back: its worker is replaced, its shard is charged, and the rest goes on."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import ImageRequest
from darkroom.engine.dispatcher import LocalDispatcher
from darkroom.engine.tasks import AttemptFailed, Event, ShardDone, WorkerLost
from darkroom.engine.worker import Worker
from darkroom.rendering.renderer import PaintRenderer, RenderedImage
from darkroom.runs.reading import records
from darkroom.runs.run import RunInfo
from darkroom.storage.store import StoreSpec, open_store, parse_spec
from tests.engine.helpers import CELL, dataset, run_info, tasks

TIMEOUT_S = 3.0  # more than a batch takes on a machine that is busy with other things
RELEASED = threading.Event()  # set at a test's end: Python waits for threads that hang before it exits


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    RELEASED.clear()
    yield
    RELEASED.set()


class Hanging:
    """Paints; at a prompt that says so it hangs, every time or only while a file is absent."""

    def __init__(self, flag: Path) -> None:
        self._painter = PaintRenderer(2)
        self._flag = flag
        self.info = self._painter.info

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        prompts = " ".join(request.prompt for request in requests)
        once = "hang once" in prompts and not self._flag.exists()
        if once or "hang always" in prompts:
            self._flag.touch()
            RELEASED.wait(600)
        return self._painter.render(requests)


@dataclass(frozen=True)
class MakeHanging:
    run: RunInfo
    store: StoreSpec
    flag: Path

    def __call__(self) -> Worker:
        store = open_store(self.store)
        return Worker(self.run, lambda _: Hanging(self.flag), CELL.model, store, batch_timeout_s=TIMEOUT_S)


def making(tmp_path: Path, prompts: Sequence[str]) -> tuple[MakeHanging, Iterator]:
    data = dataset(prompts)
    run = run_info(data, shard_size=2)
    store = open_store(parse_spec(str(tmp_path / "run")))
    return MakeHanging(run, store.spec, tmp_path / "flag"), tasks(run, data, store)


def rendered(make: MakeHanging) -> list[str]:
    return sorted(record.prompt for record in records(open_store(make.store)))


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    from darkroom.engine import cluster

    cluster.start(None, num_workers=1)
    yield
    cluster.stop()


@pytest.mark.slow
def test_a_worker_that_hangs_in_this_process_ends_the_job_in_time(tmp_path: Path) -> None:
    make, work = making(tmp_path, ["p0", "p1", "hang always", "p3"])
    started = time.monotonic()
    with pytest.raises(DarkroomError, match="did not end within"):
        LocalDispatcher(make, 1).run(work, lambda event: None)
    assert time.monotonic() - started < 60
    assert rendered(make) == ["p0", "p1"]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_that_hangs_once_is_replaced(tmp_path: Path) -> None:
    from darkroom.engine.ray_dispatcher import RayDispatcher

    prompts = ["hang once", *[f"p{number}" for number in range(7)]]
    make, work = making(tmp_path, prompts)
    events: list[Event] = []
    RayDispatcher(make, 1, 2).run(work, events.append)
    assert rendered(make) == sorted(prompts)
    [lost] = [event for event in events if isinstance(event, WorkerLost)]
    assert f"batch_timeout_s={TIMEOUT_S:g}" in lost.reason


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_shard_that_always_hangs_is_given_up_and_its_company_is_not(tmp_path: Path) -> None:
    from darkroom.engine.ray_dispatcher import RayDispatcher

    prompts = ["p0", "p1", "hang always", "p3", "p4", "p5", "p6", "p7"]
    make, work = making(tmp_path, prompts)
    events: list[Event] = []
    RayDispatcher(make, 1, 2).run(work, events.append)
    assert rendered(make) == ["p0", "p1", "p4", "p5", "p6", "p7"]
    final = [event for event in events if isinstance(event, AttemptFailed) and event.final]
    assert [(event.attempt, event.task.shard.start) for event in final] == [(2, 2)]
    assert len([event for event in events if isinstance(event, ShardDone)]) == 3
