"""The dispatcher on real local Ray: slow, killed and poisoned workers."""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.engine.tasks import AttemptFailed, Event, ShardDone, ShardTask, Summary, WorkerLost, WorkerReady
from darkroom.engine.worker import Worker
from darkroom.runs.images import image_bytes
from darkroom.runs.reading import records
from darkroom.storage.store import Store, open_store, parse_spec
from tests.engine.helpers import MakeMisbehaving, dataset, run_info, tasks

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(parse_spec(str(tmp_path / "run")))


def dispatch(store: Store, prompts: list[str], num_workers: int = 2, max_attempts: int = 2, listen=None, **options):
    from darkroom.engine.ray_dispatcher import RayDispatcher

    data = dataset(prompts)
    run = run_info(data, shard_size=2)
    events: list[Event] = []

    def hear(event: Event) -> None:
        events.append(event)
        if listen:
            listen(event)

    make = MakeMisbehaving(run, store.spec, options)
    RayDispatcher(make, num_workers, max_attempts).run(tasks(run, data, store), hear)
    return events


def prompts_of(store: Store) -> list[str]:
    return sorted(record.prompt for record in records(store))


@pytest.mark.slow
def test_every_prompt_is_rendered_once_by_several_workers(store: Store) -> None:
    prompts = [f"p{number:02}" for number in range(20)]
    events = dispatch(store, prompts, seconds_per_batch=0.05)
    assert prompts_of(store) == prompts
    assert len({event.worker for event in events if isinstance(event, ShardDone)}) == 2
    assert sum(isinstance(event, WorkerReady) for event in events) == 2


@pytest.mark.slow
def test_one_slow_shard_does_not_hold_the_others(store: Store, tmp_path: Path) -> None:
    """It goes on when four others are committed."""
    prompts, flag, done = ["wait", *(f"p{number:02}" for number in range(19))], tmp_path / "flag", []

    def hear(event: Event) -> None:
        done.extend([event] if isinstance(event, ShardDone) else [])
        if len(done) == 4:
            flag.touch()

    events = dispatch(store, prompts, listen=hear, flag=str(flag))
    order = [event.task.shard.start for event in events if isinstance(event, ShardDone)]
    assert sorted(order) == list(range(0, 20, 2))
    assert order.index(0) >= 4


@pytest.mark.slow
def test_a_worker_killed_in_mid_shard_is_replaced_and_nothing_is_lost(store: Store) -> None:
    """SIGKILL from outside, while shards are in flight."""
    pids: list[int] = []
    others = _actor_pids()

    def kill_soon(event: Event) -> None:
        if isinstance(event, ShardDone) and not pids:
            pids.extend(_actor_pids() - others)
            threading.Timer(0.15, os.kill, (pids[0], signal.SIGKILL)).start()

    prompts = [f"p{number:02}" for number in range(30)]
    events = dispatch(store, prompts, max_attempts=1, listen=kill_soon, seconds_per_batch=0.1)
    assert sum(isinstance(event, WorkerLost) for event in events) == 1
    assert prompts_of(store) == prompts


@pytest.mark.slow
def test_a_poison_shard_fails_alone_and_the_rest_completes(store: Store) -> None:
    prompts = [f"p{number:02}" for number in range(16)]
    prompts[6] = "kill always"
    events = dispatch(store, prompts, max_attempts=2)
    summary = Summary()
    for event in events:
        summary.add(event)
    assert [task.shard.start for task, _ in summary.failed_shards] == [6]
    assert "died" in summary.failed_shards[0][1]
    assert prompts_of(store) == sorted(prompts[:6] + prompts[8:])


@pytest.mark.slow
def test_an_attempt_that_raises_is_made_again(store: Store, tmp_path: Path) -> None:
    events = dispatch(store, ["a", "b", "kill once", "c"], flag=str(tmp_path / "flag"), max_attempts=2)
    assert any(isinstance(event, AttemptFailed) and not event.final for event in events)
    assert prompts_of(store) == ["a", "b", "c", "kill once"]


@pytest.mark.slow
def test_a_worker_that_cannot_start_ends_the_run_with_its_reason(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from darkroom.engine.ray_dispatcher import RayDispatcher

    monkeypatch.setattr("darkroom.engine.actor._FIRST_PAUSE_S", 0.1)

    def broken() -> None:
        raise OSError("no such weights")

    data = dataset(["a"])
    run = run_info(data)
    with pytest.raises(DarkroomError, match="no such weights"):
        RayDispatcher(broken, 1, 2).run(tasks(run, data, store), lambda event: None)


@dataclass(frozen=True)
class OneStarts:
    """Only the first worker that is started ever works, and it takes its time."""

    make: MakeMisbehaving
    folder: Path

    def __call__(self) -> Worker:
        try:
            self.folder.mkdir()
        except FileExistsError:
            raise OSError("no such weights") from None
        time.sleep(3)
        return self.make()


@pytest.mark.slow
def test_starts_that_fail_leave_the_workers_in_peace_that_load_and_render(store: Store, tmp_path: Path) -> None:
    from darkroom.engine.ray_dispatcher import RayDispatcher

    data = dataset([f"p{number}" for number in range(8)])
    run = run_info(data, shard_size=2)
    make = OneStarts(MakeMisbehaving(run, store.spec, {"seconds_per_batch": 1.0}), tmp_path / "starts")
    events: list[Event] = []
    RayDispatcher(make, 4, 1).run(tasks(run, data, store), events.append)
    assert len(prompts_of(store)) == 8
    lost = [event.reason for event in events if isinstance(event, WorkerLost)]
    assert 3 <= len(lost) <= 12
    assert all(re.fullmatch(r"OSError: no such weights; the next start waits \d+ s", reason) for reason in lost), lost


@pytest.mark.slow
def test_a_worker_that_dies_idle_costs_no_shard_an_attempt(store: Store) -> None:
    """Killed while the dispatcher waits for the next prompt, after everything before was committed."""
    from darkroom.engine.ray_dispatcher import RayDispatcher

    data = dataset(["a", "b", "c", "d"])
    run = run_info(data, shard_size=2)

    def slowly_read() -> Iterator[ShardTask]:
        others = _actor_pids()
        first, second = tasks(run, data, store)
        yield first
        deadline = time.monotonic() + 30
        while len(prompts_of(store)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(2.0)
        os.kill(min(_actor_pids() - others), signal.SIGKILL)
        yield second

    events: list[Event] = []
    RayDispatcher(MakeMisbehaving(run, store.spec), 1, 2).run(slowly_read(), events.append)
    assert prompts_of(store) == ["a", "b", "c", "d"]
    # The first shard may have been committed while its answer was still on the way, which nobody can tell from a death.
    failed = [event for event in events if isinstance(event, AttemptFailed)]
    assert not [event for event in failed if event.final or event.task.shard.start != 0]
    assert sum(isinstance(event, WorkerLost) for event in events) == 1


@pytest.mark.slow
def test_a_worker_that_is_stopped_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from darkroom.engine import ray_dispatcher

    monkeypatch.setattr(ray_dispatcher, "HEARTBEAT_EVERY_S", 0.5)
    monkeypatch.setattr(ray_dispatcher, "HEARTBEAT_TIMEOUT_S", 5.0)
    store = open_store(parse_spec(str(tmp_path)))
    data = dataset([f"p{number}" for number in range(24)])
    run = run_info(data, shard_size=2)
    events: list[Event] = []
    stopped: list[psutil.Process] = []
    others = _actor_pids()

    def hear(event: Event) -> None:
        events.append(event)
        if isinstance(event, ShardDone) and not stopped:
            stopped.append(psutil.Process(min(_actor_pids() - others)))
            stopped[0].send_signal(signal.SIGSTOP)
        if isinstance(event, WorkerLost):  # the zombie wakes up while others do its work, if it was not killed
            threading.Timer(1.0, _wake, stopped).start()

    make = MakeMisbehaving(run, store.spec, {"seconds_per_batch": 0.5})
    ray_dispatcher.RayDispatcher(make, 2, 1).run(tasks(run, data, store), hear)
    [lost] = [event for event in events if isinstance(event, WorkerLost)]
    assert "has not answered" in lost.reason
    found = list(records(store))
    assert sorted(record.prompt for record in found) == sorted(f"p{number}" for number in range(24))
    assert all(image_bytes(store, record) for record in found)


def _actor_pids() -> set[int]:
    """Processes of this Ray's actors, by their names; those of the test before may take a moment to go."""
    below = psutil.Process().children(recursive=True)
    return {child.pid for child in below if "ray::WorkerActor" in " ".join(_command(child))}


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


def _wake(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGCONT)
