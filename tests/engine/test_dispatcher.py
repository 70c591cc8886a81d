"""What a dispatcher keeps of attempts, and the one without Ray on a real worker and a store that fails."""

from pathlib import Path

import pytest

from darkroom.engine.dispatcher import Ledger, LocalDispatcher
from darkroom.engine.tasks import AttemptFailed, ShardDone, Summary
from darkroom.runs.reading import records
from darkroom.storage.store import Store, StoreRefusal, open_store, parse_spec
from tests.engine.helpers import MakeMisbehaving, Misbehaving, dataset, run_info, tasks, worker


def test_a_failing_task_is_given_up_after_its_attempts() -> None:
    ledger = Ledger(iter(["a"]), max_attempts=2)
    first = ledger.take()
    assert not ledger.failed(first, "x")
    again = ledger.take()
    assert again.number == 2
    assert ledger.failed(again, "y")
    assert ledger.is_empty


def test_who_had_company_in_death_is_not_charged_but_runs_alone() -> None:
    ledger = Ledger(iter(["a", "b"]), max_attempts=1)
    held = [ledger.take(), ledger.take()]
    assert ledger.died(held, "boom") == []
    assert ledger.take() is None
    poison, innocent = ledger.take_suspect(), ledger.take_suspect()
    assert poison.alone
    assert ledger.died([poison], "boom") == [poison]
    assert innocent.charged == 0


def test_a_preempted_node_charges_nobody() -> None:
    ledger = Ledger(iter(["a"]), max_attempts=1)
    for _ in range(5):
        assert ledger.died([ledger.take()], "preempted", charge=False) == []
    assert not ledger.has_suspects


def test_no_more_is_read_than_is_asked_for() -> None:
    read: list[int] = []
    ledger = Ledger((read.append(number) or number for number in range(100)), max_attempts=1)
    assert not ledger.is_empty
    ledger.take()
    assert read == [0]


class BrokenStore:
    """A store whose manifests cannot be written, as a full disk would have it."""

    def __init__(self, store: Store, broken: str) -> None:
        self._store, self._broken = store, broken

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def put_if_absent(self, key: str, data: bytes, content_type: str = "") -> bool:
        if self._broken in key:
            raise OSError("No space left on device")
        return self._store.put_if_absent(key, data)


class ForgetfulStore:
    """A store that writes a manifest and then, once, loses its answer for good."""

    def __init__(self, store: Store) -> None:
        self._store, self._lost = store, False

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def put_if_absent(self, key: str, data: bytes, content_type: str = "") -> bool:
        written = self._store.put_if_absent(key, data, content_type)
        if key.startswith("metadata") and not self._lost:
            self._lost = True
            raise OSError("no answer")
        return written


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(parse_spec(str(tmp_path / "run")))


@pytest.mark.slow
def test_everything_is_rendered_in_this_process(store: Store) -> None:
    data = dataset([f"p{number:02}" for number in range(20)])
    run = run_info(data)
    summary = Summary()
    LocalDispatcher(MakeMisbehaving(run, store.spec), 2).run(tasks(run, data, store), summary.add)
    assert (summary.num_ok, summary.num_failed, summary.failed_shards) == (20, 0, [])
    assert len(list(records(store))) == 20


@pytest.mark.slow
def test_a_shard_that_cannot_be_committed_fails_alone(store: Store) -> None:
    data = dataset([f"p{number:02}" for number in range(12)])
    run = run_info(data)
    broken = BrokenStore(store, "000000000004-000000000008")
    summary = Summary()
    LocalDispatcher(lambda: worker(run, Misbehaving(), broken), 2).run(tasks(run, data, store), summary.add)
    assert summary.num_ok == 8
    [(task, reason)] = summary.failed_shards
    assert (task.shard.start, reason) == (4, "OSError: No space left on device")
    assert {record.row for record in records(store)} == {0, 1, 2, 3, 8, 9, 10, 11}


@pytest.mark.slow
def test_a_shard_whose_commit_went_unanswered_counts_like_any_other(store: Store) -> None:
    data = dataset([f"p{number:02}" for number in range(12)])
    run = run_info(data)
    summary = Summary()
    forgetful = ForgetfulStore(store)
    LocalDispatcher(lambda: worker(run, Misbehaving(), forgetful), 2).run(tasks(run, data, store), summary.add)
    assert (summary.num_ok, summary.num_shards, summary.num_adopted) == (12, 3, 1)
    assert len(list(records(store))) == 12


class FullStore(BrokenStore):
    """A store that refuses them for good."""

    def put_if_absent(self, key: str, data: bytes, content_type: str = "") -> bool:
        if self._broken in key:
            raise StoreRefusal("the disk: No space left on device; make room there")
        return self._store.put_if_absent(key, data)


@pytest.mark.slow
def test_a_store_that_refuses_ends_the_run_and_charges_no_shard(store: Store) -> None:
    data = dataset([f"p{number:02}" for number in range(12)])
    run, full, events = run_info(data), FullStore(store, "metadata"), []
    with pytest.raises(StoreRefusal, match="make room"):
        LocalDispatcher(lambda: worker(run, Misbehaving(), full), 3).run(tasks(run, data, store), events.append)
    assert [event for event in events if isinstance(event, AttemptFailed | ShardDone)] == []
