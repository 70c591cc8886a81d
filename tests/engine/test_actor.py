"""A worker that is stopped is replaced, and may wake up and write: the dataset is what it would have been."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from darkroom.engine.actor import Heartbeat
from darkroom.engine.events import Event, ShardDone, WorkerLost
from darkroom.runs.images import image_bytes
from darkroom.runs.reading import records
from darkroom.storage.opening import open_store
from darkroom.storage.store import parse_spec
from tests.engine.helpers import MakeMisbehaving, dataset, run_info, tasks


def test_who_answers_is_asked_again_and_who_does_not_owes_from_the_question_on() -> None:
    asked: list[int] = []
    answered: set[int] = set()

    def ask() -> int:
        asked.append(len(asked))
        return asked[-1]

    heartbeat = Heartbeat(ask, answered.__contains__)
    assert heartbeat.silent_s < 0.5
    answered.add(0)
    assert heartbeat.silent_s < 0.5
    time.sleep(0.6)
    assert heartbeat.silent_s > 0.5
    assert asked == [0, 1]
    answered.add(1)
    assert heartbeat.silent_s < 0.5


@pytest.fixture
def ray_cluster() -> Iterator[None]:
    from darkroom.engine import cluster

    cluster.start(None, num_workers=2)
    yield
    cluster.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_that_is_stopped_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from darkroom.engine import ray_dispatcher

    monkeypatch.setattr(ray_dispatcher, "HEARTBEAT_EVERY_S", 0.5)
    monkeypatch.setattr(ray_dispatcher, "HEARTBEAT_TIMEOUT_S", 5.0)
    store = open_store(parse_spec(str(tmp_path)))
    data = dataset([f"p{number}" for number in range(24)])
    run = run_info(data, shard_size=2)
    events: list[Event] = []
    stopped: list[psutil.Process] = []

    def hear(event: Event) -> None:
        events.append(event)
        if isinstance(event, ShardDone) and not stopped:
            stopped.append(actors()[0])
            stopped[0].send_signal(signal.SIGSTOP)
        if isinstance(event, WorkerLost):  # the zombie wakes up while others do its work, if it was not killed
            threading.Timer(1.0, wake, stopped).start()

    make = MakeMisbehaving(run, store.spec, {"seconds_per_batch": 0.5})
    ray_dispatcher.RayDispatcher(make, 2, 0, 1).run(tasks(run, data, store), hear)
    [lost] = [event for event in events if isinstance(event, WorkerLost)]
    assert "has not answered" in lost.reason
    found = list(records(store))
    assert sorted(record.prompt for record in found) == sorted(f"p{number}" for number in range(24))
    assert all(image_bytes(store, record) for record in found)


def actors() -> list[psutil.Process]:
    below = psutil.Process(os.getpid()).children(recursive=True)
    return [child for child in below if "ray::WorkerActor" in " ".join(child.cmdline())]


def wake(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGCONT)
