"""The dispatcher on a real Ray of several nodes, one of which is about to leave."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from darkroom.engine.tasks import AttemptFailed, Event, ShardDone, WorkerLost, WorkerReady, WorkersPending
from darkroom.runs.reading import records
from darkroom.storage.store import open_store, parse_spec
from tests.engine.helpers import MakeMisbehaving, dataset, run_info, tasks
from tests.faults.ray_drills import drain

pytestmark = pytest.mark.slow


@pytest.fixture
def leaving(no_ray: None) -> Iterator[tuple[str, Callable]]:
    """The id of the one node with room for a worker, and what adds another."""
    from ray.cluster_utils import Cluster

    from darkroom.engine import cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    only = nodes.add_node(num_cpus=1)
    cluster.start(nodes.address)
    nodes.wait_for_nodes()
    try:
        yield only.node_id, lambda: nodes.add_node(num_cpus=1)
    finally:
        cluster.stop()
        nodes.shutdown()


@pytest.mark.slow
def test_a_worker_on_a_node_that_leaves_is_replaced_elsewhere(leaving: tuple, tmp_path: Path) -> None:
    import ray

    from darkroom.engine.ray_dispatcher import RayDispatcher

    node_id, add_node = leaving
    store = open_store(parse_spec(str(tmp_path)))
    data = dataset([f"p{number}" for number in range(16)])
    run = run_info(data, shard_size=2)
    events: list[Event] = []

    def hear(event: Event) -> None:
        events.append(event)
        if isinstance(event, ShardDone) and not any(isinstance(other, ShardDone) for other in events[:-1]):
            drain(ray.get_runtime_context().gcs_address, node_id)
            add_node()

    started = time.monotonic()
    make = MakeMisbehaving(run, store.spec, {"seconds_per_batch": 0.6})
    RayDispatcher(make, 1, 1).run(tasks(run, data, store), hear)
    assert time.monotonic() - started < 45  # before the node is gone
    assert len(list(records(store))) == 16
    assert [event.worker for event in events if isinstance(event, WorkerReady)] == ["worker 1", "worker 2"]
    assert [event.reason for event in events if isinstance(event, WorkerLost)] == ["its node is about to leave"]
    assert not [event for event in events if isinstance(event, AttemptFailed)]


@pytest.mark.slow
def test_where_other_nodes_stay_no_worker_is_started_in_vain(leaving: tuple, tmp_path: Path) -> None:
    """As many workers as there is room for: a node that leaves is no room."""
    import ray

    from darkroom.engine.ray_dispatcher import RayDispatcher

    node_id, add_node = leaving
    add_node()
    store = open_store(parse_spec(str(tmp_path)))
    data = dataset([f"p{number}" for number in range(24)])
    run = run_info(data, shard_size=2)
    events: list[Event] = []

    def hear(event: Event) -> None:
        events.append(event)
        if isinstance(event, WorkerReady) and event.worker == "worker 2":
            drain(ray.get_runtime_context().gcs_address, node_id)

    make = MakeMisbehaving(run, store.spec, {"seconds_per_batch": 0.6})
    RayDispatcher(make, None, 1).run(tasks(run, data, store), hear)
    assert len(list(records(store))) == 24
    assert [event.reason for event in events if isinstance(event, WorkerLost)] == ["its node is about to leave"]
    said = [(event.num_ready, event.num_wanted) for event in events if isinstance(event, WorkersPending)]
    assert said[-1] == (1, 1)
    assert (1, 2) not in said[said.index((2, 2)) :]
