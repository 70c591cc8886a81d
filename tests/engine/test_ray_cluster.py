"""The dispatcher on a real Ray of several nodes: some join late, leave, have other software, or are of another kind."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from darkroom.engine.tasks import AttemptFailed, Event, ShardDone, WorkerLost, WorkerReady, WorkersPending
from darkroom.runs.reading import records
from darkroom.storage.store import Store, open_store, parse_spec
from tests.engine.helpers import MakeMisbehaving, dataset, run_info, tasks
from tests.faults.ray_drills import drain

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster whose head has no room for workers."""
    from ray.cluster_utils import Cluster

    from darkroom.engine import cluster

    cluster.stop()
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.start(found.address)
    try:
        yield found
    finally:
        cluster.stop()
        found.shutdown()


@pytest.fixture
def add_node(nodes: Any) -> Iterator[Callable]:
    """Adds a node with these resources; they are gone after the test."""
    added = []

    def add(**options: Any) -> Any:
        added.append(nodes.add_node(**options))
        return added[-1]

    yield add
    for node in added:
        with suppress(AssertionError):  # it is gone
            nodes.remove_node(node)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(parse_spec(str(tmp_path / "run")))


def dispatch(
    store: Store, num_workers: int | None, listen: Callable[[Event], None] = lambda event: None, **options: Any
) -> list[Event]:
    """The third shard waits until a second worker is ready, or for some seconds."""
    from darkroom.engine.capacity import WorkerResources
    from darkroom.engine.ray_dispatcher import RayDispatcher

    data = dataset([f"p{number}{' wait' if number == 4 else ''}" for number in range(16)])
    run = run_info(data, shard_size=2)
    events: list[Event] = []
    flag = Path(store.describe()).parent / "flag"

    def hear(event: Event) -> None:
        events.append(event)
        if len(of_kind(WorkerReady, events)) == max(2, num_workers or 0) or num_workers == 1:
            flag.touch()
        listen(event)

    make = MakeMisbehaving(run, store.spec, {"seconds_per_batch": 0.2, "flag": str(flag)})
    RayDispatcher(make, num_workers, 1, WorkerResources(**options)).run(tasks(run, data, store), hear)
    assert len(list(records(store))) == 16
    return events


def of_kind(kind: type, events: Sequence[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.mark.slow
def test_a_node_that_joins_late_gets_work(add_node: Callable, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.engine.capacity._COUNT_EVERY_S", 0.2)
    add_node(num_cpus=1)
    joined: list[Any] = []

    def listen(event: Event) -> None:
        if isinstance(event, ShardDone) and not joined:
            joined.append(add_node(num_cpus=1))

    events = dispatch(store, None, listen)
    assert {event.worker for event in of_kind(ShardDone, events)} == {"worker 1", "worker 2"}
    assert (1, 2) in [(event.num_ready, event.num_wanted) for event in of_kind(WorkersPending, events)]


@pytest.mark.slow
def test_workers_wait_for_nodes_of_their_kind_and_say_so(
    add_node: Callable, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPUs of a node that is not there yet, as on a cluster that starts nodes on demand."""
    monkeypatch.setattr("darkroom.engine.ray_dispatcher._SAY_EVERY_S", 0.5)
    add_node(num_cpus=4)
    added: list[Any] = []

    def listen(event: Event) -> None:
        if isinstance(event, WorkersPending) and event.why and not added:
            added.append(add_node(num_cpus=2, num_gpus=1))

    events = dispatch(store, 2, listen, num_gpus=0.5)
    waits = of_kind(WorkersPending, events)
    assert "2 wait for room in the cluster" in [event.why for event in waits]
    assert len(of_kind(WorkerReady, events)) == 2


@pytest.mark.slow
def test_a_node_with_other_software_is_named_and_left_out(
    add_node: Callable, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other software: a second installation's metadata before this one on the node's path."""
    folder = store.describe()
    site = Path(folder).parent / "site"
    found = site / "diffusers-0.1.dist-info"
    found.mkdir(parents=True)
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: diffusers\nVersion: 0.1\n")
    bad = add_node(num_cpus=1, env_vars={"PYTHONPATH": f"{site}:{os.environ.get('PYTHONPATH', '')}"})
    others: list[Any] = []

    def listen(event: Event) -> None:
        if isinstance(event, WorkerLost) and not others:
            others.append(add_node(num_cpus=1))
            time.sleep(0.5)

    monkeypatch.setattr("darkroom.engine.capacity._COUNT_EVERY_S", 0.2)
    events = dispatch(store, 1, listen)
    [first, *more] = of_kind(WorkerLost, events)
    assert "diffusers 0.1 and not" in first.reason
    assert len(more) <= 1, "the node was tried again and again"
    assert of_kind(WorkerReady, events)
    assert bad.node_id


# Nodes that leave -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_on_a_node_that_leaves_is_replaced_elsewhere(add_node: Callable, tmp_path: Path) -> None:
    import ray

    from darkroom.engine.ray_dispatcher import RayDispatcher

    node_id = add_node(num_cpus=1).node_id
    store = open_store(parse_spec(str(tmp_path)))
    data = dataset([f"p{number}" for number in range(16)])
    run = run_info(data, shard_size=2)
    events: list[Event] = []

    def hear(event: Event) -> None:
        events.append(event)
        if isinstance(event, ShardDone) and not any(isinstance(other, ShardDone) for other in events[:-1]):
            drain(ray.get_runtime_context().gcs_address, node_id)
            add_node(num_cpus=1)

    started = time.monotonic()
    make = MakeMisbehaving(run, store.spec, {"seconds_per_batch": 0.6})
    RayDispatcher(make, 1, 1).run(tasks(run, data, store), hear)
    assert time.monotonic() - started < 45  # before the node is gone
    assert len(list(records(store))) == 16
    assert [event.worker for event in events if isinstance(event, WorkerReady)] == ["worker 1", "worker 2"]
    assert [event.reason for event in events if isinstance(event, WorkerLost)] == ["its node is about to leave"]
    assert not [event for event in events if isinstance(event, AttemptFailed)]


@pytest.mark.slow
def test_where_other_nodes_stay_no_worker_is_started_in_vain(add_node: Callable, tmp_path: Path) -> None:
    """As many workers as there is room for: a node that leaves is no room."""
    import ray

    from darkroom.engine.ray_dispatcher import RayDispatcher

    node_id = add_node(num_cpus=1).node_id
    add_node(num_cpus=1)
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
