from pathlib import Path

import pytest

from darkroom.engine.events import AttemptFailed, ShardDone, Summary
from darkroom.engine.local_dispatcher import LocalDispatcher
from darkroom.runs.reading import records
from darkroom.storage.opening import open_store
from darkroom.storage.store import Store, StoreRefusal, parse_spec
from tests.engine.helpers import MakeMisbehaving, Misbehaving, dataset, run_info, tasks, worker


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


def test_everything_is_rendered_in_this_process(store: Store) -> None:
    data = dataset([f"p{number:02}" for number in range(20)])
    run = run_info(data)
    summary = Summary()
    LocalDispatcher(MakeMisbehaving(run, store.spec), 2).run(tasks(run, data, store), summary.add)
    assert (summary.num_ok, summary.num_failed, summary.failed_shards) == (20, 0, [])
    assert len(list(records(store))) == 20


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


def test_a_store_that_refuses_ends_the_run_and_charges_no_shard(store: Store) -> None:
    data = dataset([f"p{number:02}" for number in range(12)])
    run, full, events = run_info(data), FullStore(store, "metadata"), []
    with pytest.raises(StoreRefusal, match="make room"):
        LocalDispatcher(lambda: worker(run, Misbehaving(), full), 3).run(tasks(run, data, store), events.append)
    assert [event for event in events if isinstance(event, AttemptFailed | ShardDone)] == []
