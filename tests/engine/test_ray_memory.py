"""The dispatcher where memory runs out: a worker that takes it all, and Ray's object store full of others' objects."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from darkroom.domain.records import ImageRequest
from darkroom.engine.tasks import AttemptFailed, Event, WorkerLost
from darkroom.engine.worker import Worker
from darkroom.rendering.renderer import PaintRenderer, RenderedImage
from darkroom.runs.reading import records
from darkroom.runs.run import RunInfo
from darkroom.storage.store import StoreSpec, open_store, parse_spec
from tests.engine.helpers import MakeMisbehaving, dataset, run_info, tasks, worker

pytestmark = pytest.mark.slow

ROOM_BYTES = 3 << 29  # that Ray leaves to all its workers, over what the machine uses at the start
PIECE_BYTES = 1 << 28


class Hungry:
    """Paints; at a prompt that says so it takes twice the room there is."""

    def __init__(self) -> None:
        self._painter = PaintRenderer(2)
        self.info = self._painter.info

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        if any("eat" in request.prompt for request in requests):
            eaten = []
            for _ in range(2 * ROOM_BYTES // PIECE_BYTES):
                eaten.append(b"x" * PIECE_BYTES)
                time.sleep(0.1)
            time.sleep(60)
        return self._painter.render(requests)


@dataclass(frozen=True)
class MakeHungry:
    run: RunInfo
    store: StoreSpec

    def __call__(self) -> Worker:
        return worker(self.run, Hungry(), open_store(self.store))


@pytest.fixture
def watched(no_ray: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray that kills workers before the machine has no memory left."""
    from darkroom.engine import cluster

    memory = psutil.virtual_memory()
    monkeypatch.setenv("RAY_memory_usage_threshold", str((memory.total - memory.available + ROOM_BYTES) / memory.total))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    cluster.start(None, num_workers=1)
    yield
    cluster.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("watched")
def test_a_shard_that_takes_all_memory_is_given_up_and_its_company_is_not(tmp_path: Path) -> None:
    from darkroom.engine.ray_dispatcher import RayDispatcher

    data = dataset(["p0", "p1", "eat", "p3", "p4", "p5", "p6", "p7"])
    run = run_info(data, shard_size=2)
    store = open_store(parse_spec(str(tmp_path / "run")))
    events: list[Event] = []
    RayDispatcher(MakeHungry(run, store.spec), 1, 2).run(tasks(run, data, store), events.append)
    assert sorted(record.prompt for record in records(store)) == ["p0", "p1", "p4", "p5", "p6", "p7"]
    assert [event.task.shard.start for event in events if isinstance(event, AttemptFailed) and event.final] == [2]
    assert any("memory" in event.reason for event in events if isinstance(event, WorkerLost))


@pytest.fixture
def full(no_ray: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray whose object store holds twice what it has room for."""
    import ray
    from ray.cluster_utils import Cluster

    from darkroom.engine import cluster

    room = 80 << 20
    nodes = Cluster(head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": room},
                    initialize_head=True)  # fmt: skip
    cluster.start(nodes.address)
    held = [ray.put(np.zeros(room // 10, np.uint8)) for _ in range(20)]
    yield
    held.clear()
    cluster.stop()
    nodes.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("full")
def test_shards_pass_through_an_object_store_that_is_full(tmp_path: Path) -> None:
    """Shards too large to be sent any other way."""
    from darkroom.engine.ray_dispatcher import RayDispatcher

    data = dataset([f"p{number}" for number in range(8)], notes=["x" * 500_000] * 8)
    run = run_info(data, shard_size=2)
    store = open_store(parse_spec(str(tmp_path / "run")))
    RayDispatcher(MakeMisbehaving(run, store.spec), 1, 1).run(tasks(run, data, store), lambda event: None)
    assert sorted(record.prompt for record in records(store)) == [f"p{number}" for number in range(8)]
