"""Segments and manifests together: whatever happens when, readers see what reading the manifests says."""

import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path

import pyarrow as pa
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Shard
from darkroom.domain.records import FAILED
from darkroom.engine.planning import plan
from darkroom.runs import compaction, listing, manifest, segments
from darkroom.runs.bulk import read_each, read_parts
from darkroom.runs.files import COMPACTED_PREFIX, manifest_key
from darkroom.runs.listing import committed_shards
from darkroom.runs.manifest import WithExtras
from darkroom.runs.reading import count_statuses
from darkroom.storage.store import NotFound, Store, open_store, parse_spec
from tests.runs import synthetic
from tests.runs.stores import CountingStore

SHARDS = list(plan(32, 3, ["aa", "bb"], "fingerprint"))
SOME, EXTRAS = ("image_id", "status", "number"), WithExtras(frozenset({"status"}))


parsed = cache(manifest.parse)


class Killed(Exception):
    """The process ends here."""


class Mortal:
    """A store whose process dies at the nth write or removal, before it or after."""

    def __init__(self, store: Store, nth: int, is_after: bool) -> None:
        self._store, self._nth, self._is_after, self._number = store, nth, is_after, count(1)

    def __getattr__(self, name: str):
        found = getattr(self._store, name)
        return self._dooming(found) if name in ("put", "put_if_absent", "replace", "delete") else found

    def _dooming(self, write: Callable) -> Callable:
        def doomed(*arguments):
            is_now = next(self._number) == self._nth
            if is_now and not self._is_after:
                raise Killed
            written = write(*arguments)
            if is_now:
                raise Killed
            return written

        return doomed


class World:
    """A run, what happens to it, and what reading its manifests says: those that are there, and those that were removed
    from beside their copies."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store, self.random, self.numbers = store, random.Random(seed), count(1)
        self.truth: dict[Shard, bytes] = {}
        self.num_read = Counter[str]()  # shards, by where they were read

    def act(self) -> None:
        often = [self.commit, self.commit, self.retry, self.compact, self.drive, self.wake_late]
        rarely = [self.fence, self.compact_to_death, self.collect, self.collect_to_death, self.lose, self.lose]
        self.random.choice([*often, *rarely])()

    def commit(self) -> None:
        left = [shard for shard in SHARDS if shard not in self.truth]
        for shard in self.random.sample(left, min(len(left), self.random.randint(1, 5))):
            assert manifest.commit(self.store, shard, self._table(shard, self._some_rows(shard)))
            self._there(shard)

    def retry(self) -> None:
        """What failed is rendered, some of it in vain."""
        failing = [shard for shard in self.truth if self._failed(shard)]
        for shard in self.random.sample(failing, min(len(failing), 2)):
            before = self.store.get(manifest_key(shard))
            still = {row for row in self._failed(shard) if self.random.random() < 0.4}
            assert manifest.revise(self.store, shard, before, self._table(shard, still))
            self._there(shard)

    def fence(self) -> None:
        failing = [shard for shard in self.truth if self._failed(shard)]
        manifest.fence_retries(self.store, failing)
        for shard in failing:
            self._there(shard)

    def lose(self) -> None:
        """A person removes a manifest: the shard is to be rendered again."""
        there = [shard for shard in self.truth if self._has_manifest(shard) and not self._is_marked(shard)]
        for shard in self.random.sample(there, min(len(there), 2)):
            self.store.delete([manifest_key(shard)])
            del self.truth[shard]

    def wake_late(self) -> None:
        """A worker of long ago commits a shard whose manifest was removed, or a person restores an older one: the copy
        counts."""
        gone = [shard for shard in self.truth if not self._has_manifest(shard)]
        for shard in self.random.sample(gone, min(len(gone), 1)):
            assert manifest.commit(self.store, shard, self._table(shard, self._some_rows(shard)))

    def compact(self) -> None:
        compaction.compact(self.store)

    def drive(self) -> None:
        """A driver copies what it knows of."""
        shards = self.random.sample(list(self.truth), min(len(self.truth), self.random.randint(0, 6)))
        compaction.copy_shards(self.store, shards)

    def compact_to_death(self) -> None:
        self._to_death(compaction.compact)

    def collect(self) -> None:
        compaction.remove_manifests(self.store, compaction.removable_manifests(self.store))

    def collect_to_death(self) -> None:
        removable = compaction.removable_manifests(self.store)
        self._to_death(lambda store: compaction.remove_manifests(store, removable), longest=3)

    def check(self) -> None:
        """Every way to read says what the manifests say."""
        shards = sorted(self.truth, key=manifest_key)
        assert list(manifest.committed(self.store)) == shards
        for each in committed_shards(self.store):
            self.num_read[f"{'copy' if each.copy else 'no copy'}, {'manifest' if each.has_manifest else 'none'}"] += 1
        assert list(manifest.committed(self.store, "bb")) == [shard for shard in shards if shard.cell_id == "bb"]
        for columns in (None, SOME, EXTRAS):
            right = [(shard, parsed(self.truth[shard], columns)) for shard in shards]
            assert_equal(list(read_each(self.store, columns=columns)), right)
            joined = [part.table.replace_schema_metadata(None) for part in read_parts(self.store, columns=columns)]
            assert_rows(joined, [table for _, table in right])
        some = self.random.sample(shards, min(3, len(shards)))
        assert_equal(
            [(shard, manifest.read(self.store, shard)) for shard in some],
            [(shard, parsed(self.truth[shard])) for shard in some],
        )
        for shard in some:
            said = manifest.texts(manifest.parse(self.truth[shard]).schema)
            assert manifest.metadata(self.store, shard) == said

    def _to_death(self, deed: Callable[[Store], object], longest: int = 8) -> None:
        with suppress(Killed):
            deed(Mortal(self.store, self.random.randint(1, longest), self.random.random() < 0.5))  # type: ignore[arg-type]

    def _table(self, shard: Shard, failed: Sequence[int] | set[int]) -> pa.Table:
        """Some are of a version that knew other columns."""
        number = next(self.numbers)
        found = synthetic.table(shard, set(failed), number, said=str(number))
        return found.drop_columns(["guidance_stop", "host"]) if shard.start % 4 == 0 else found

    def _some_rows(self, shard: Shard) -> set[int]:
        return {row for row in range(shard.start, shard.stop) if self.random.random() < 0.15}

    def _there(self, shard: Shard) -> None:
        self.truth[shard] = self.store.get(manifest_key(shard))

    def _failed(self, shard: Shard) -> set[int]:
        rows = manifest.parse(self.truth[shard], ["row", "status"]).to_pylist()
        return {row["row"] for row in rows if row["status"] == FAILED}

    def _has_manifest(self, shard: Shard) -> bool:
        try:
            self.store.get(manifest_key(shard))
        except NotFound:
            return False
        return True

    def _is_marked(self, shard: Shard) -> bool:
        """Whether a marked segment has it: removing its manifest then changes nothing."""
        return listing.copy_of(self.store, shard) is not None


def assert_equal(found: Sequence[tuple[Shard, pa.Table]], right: Sequence[tuple[Shard, pa.Table]]) -> None:
    assert [shard for shard, _ in found] == [shard for shard, _ in right]
    for (shard, table), (_, expected) in zip(found, right, strict=True):
        assert table.schema.equals(expected.schema, check_metadata=True), shard
        assert table.equals(expected), shard


def assert_rows(found: Sequence[pa.Table], right: Sequence[pa.Table]) -> None:
    rows = [row for table in found for row in table.to_pylist()]
    assert rows == [row for table in right for row in table.to_pylist()]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few shards fill a segment, a row group and a window."""
    monkeypatch.setattr(compaction, "SEGMENT_ROWS", 14)
    monkeypatch.setattr(segments, "_GROUP_ROWS", 6)
    monkeypatch.setattr(listing, "_FIRST_WINDOW", 3)
    monkeypatch.setattr(listing, "_WINDOW", 5)


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk":
        return open_store(parse_spec(str(tmp_path / "run")))
    return open_store(parse_spec(f"s3://bucket/{uuid.uuid4().hex}", request.getfixturevalue("s3_endpoint")))


@pytest.mark.slow
def test_whatever_happens_readers_see_what_the_manifests_say(store: Store) -> None:
    num_read = Counter[str]()
    for seed in range(2 if store.spec.is_remote else 9):  # most can happen while a run is young
        store.delete([info.key for info in store.list()])
        world = World(store, seed)
        for _ in range(8):
            for _ in range(4):  # a check costs more than what happens
                world.act()
            world.check()
        num_read += world.num_read
    assert num_read.keys() == {"copy, manifest", "no copy, manifest", "copy, none"}


def filled(store: Store, failed: Collection[int] = ()) -> dict[Shard, pa.Table]:
    tables = {shard: synthetic.table(shard, failed) for shard in SHARDS}
    for shard, table in tables.items():
        assert manifest.commit(store, shard, table)
    return {shard: tables[shard] for shard in sorted(tables, key=manifest_key)}


def remove_copied_manifests(store: Store) -> None:
    compaction.remove_manifests(store, compaction.removable_manifests(store))


def test_a_run_is_read_from_segments_alone_once_its_manifests_are_removed(store: Store) -> None:
    tables = filled(store, failed={4})
    found = compaction.compact(store)
    assert (found.num_before, found.num_copied, found.num_left) == (0, len(SHARDS), 0)
    assert compaction.compact(store).num_before == len(SHARDS)
    remove_copied_manifests(store)
    assert [info.key for info in store.list("metadata/")] == [
        manifest_key(shard) for shard in tables if 4 in rows(shard)
    ]
    assert list(manifest.committed(store)) == list(tables)
    assert count_statuses(store) == {"ok": 2 * 31, FAILED: 2}
    counting = CountingStore(store)
    assert_rows([table for _, table in read_each(counting)], list(tables.values()))  # type: ignore[arg-type]
    assert not counting.fetched  # neither is a manifest that is there, since its copy counts


def test_a_damaged_segment_is_no_loss_while_its_manifests_are_there(tmp_path: Path) -> None:
    store = open_store(parse_spec(str(tmp_path / "run")))
    tables = filled(store)
    compaction.compact(store)
    for number, info in enumerate(list(store.list(COMPACTED_PREFIX))):
        data = bytearray(store.get(info.key))
        place = (30, len(data) // 2, len(data) - 200)[number % 3]
        data[place : place + 20] = bytes(20)
        store.put(info.key, bytes(data[: len(data) // 2] if number % 4 == 3 else data))
    assert_rows([table for _, table in read_each(store)], list(tables.values()))


@pytest.mark.parametrize("place", [0, 30, 0.2, 0.5, -200])
def test_a_damaged_segment_is_copied_anew_before_manifests_are_removed(tmp_path: Path, place: float) -> None:
    """Damage that nobody who reads can see, as in a part of Parquet's footer, is none."""
    store = open_store(parse_spec(str(tmp_path / "run")))
    tables = filled(store)
    compaction.compact(store)
    info = next(store.list(COMPACTED_PREFIX))
    data = store.get(info.key)
    at = int(len(data) * place) if 0 < place < 1 else int(place)
    store.put(info.key, data[:at] + bytes(20) + data[at:][20:] if at else b"")
    found = compaction.removable_manifests(store)
    if info.key in {each.segment.key for each in found}:  # its index is whole
        with suppress(DarkroomError):
            compaction.remove_manifests(store, found)
            assert place in (0.5, -200)
            assert_rows([table for _, table in read_each(store)], list(tables.values()))
            return
        assert len(list(store.list("metadata/"))) == len(tables)
        store.delete([info.key])
    assert list(manifest.committed(store)) == list(tables)
    compaction.compact(store)
    remove_copied_manifests(store)
    assert not list(store.list("metadata/"))
    assert store.get(info.key) == data
    assert_rows([table for _, table in read_each(store)], list(tables.values()))


@pytest.mark.parametrize(
    "changed",
    [
        lambda table: table.set_column(table.schema.names.index("prompt"), "prompt", pa.array(["?"] * len(table))),
        lambda table: table.replace_schema_metadata({b"darkroom.said": b"?"}),
        lambda table: table.cast(table.schema.set(table.schema.names.index("number"), pa.field("number", pa.int32()))),
    ],
    ids=["prompts", "metadata", "types"],
)
def test_manifests_stay_where_a_copy_says_something_else(
    changed: Callable[[pa.Table], pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(parse_spec(str(tmp_path / "run")))
    tables = filled(store)
    with monkeypatch.context() as wrong:
        wrong.setattr(compaction, "stored", lambda data: changed(manifest.stored(data)))
        compaction.compact(store)
    found = compaction.removable_manifests(store)
    assert found
    with pytest.raises(DarkroomError, match="not readable, or not what the manifests say that it copies, which are"):
        compaction.remove_manifests(store, found)
    assert len(list(store.list("metadata/"))) == len(tables)


@pytest.mark.slow
def test_what_stands_for_removed_manifests_outlasts_older_ones_that_come_back(store: Store) -> None:
    """As from a backup, or in a copy that was synced before a retry and after it, nothing being removed there."""
    filled(store, failed={4})
    older = {info.key: store.get(info.key) for info in store.list("metadata/")}
    shard = next(each for each in SHARDS if 4 in rows(each))
    right = synthetic.table(shard, attempt=2)
    assert manifest.revise(store, shard, older[manifest_key(shard)], right)
    compaction.compact(store)
    remove_copied_manifests(store)
    for key, data in older.items():
        store.put(key, data)
    assert dict(read_each(store))[shard].equals(right)
    assert manifest.read(store, shard).equals(right)
    compaction.compact(store)
    remove_copied_manifests(store)
    assert len(list(store.list("metadata/"))) == 1  # in the other cell the same row failed
    assert dict(read_each(store))[shard].equals(right)


def test_a_damaged_segment_that_stands_for_its_manifests_is_named(tmp_path: Path) -> None:
    store = open_store(parse_spec(str(tmp_path / "run")))
    filled(store)
    compaction.compact(store)
    remove_copied_manifests(store)
    key = next(info.key for info in store.list(COMPACTED_PREFIX) if info.key.endswith(".parquet"))
    store.put(key, store.get(key)[:100])
    with pytest.raises(DarkroomError, match=f"{key}: not readable, and the manifests"):
        list(read_each(store))
    store.delete([key])
    with pytest.raises(DarkroomError, match=f"{key}: gone, and the manifests"):
        list(manifest.committed(store))
    store.delete([f"{key}.collected"])
    assert 0 < len(list(manifest.committed(store))) < len(SHARDS)


def test_a_manifest_that_is_not_readable_is_left_and_named_by_who_reads_it(tmp_path: Path) -> None:
    store = open_store(parse_spec(str(tmp_path / "run")))
    first, other, *_ = filled(store)
    store.put(manifest_key(first), b"torn")
    store.put(manifest_key(other), store.get(manifest_key(SHARDS[-1])))  # another shard's
    assert compaction.compact(store).num_left == 2
    remove_copied_manifests(store)
    assert {info.key for info in store.list("metadata/")} >= {manifest_key(first), manifest_key(other)}
    with pytest.raises(DarkroomError, match=manifest_key(first)):
        list(read_each(store))


@pytest.mark.slow
def test_readers_lose_nothing_while_all_else_happens_at_once(tmp_path: Path) -> None:
    """Each sees every shard that was there when it began, as it was at some moment since."""
    store = open_store(parse_spec(str(tmp_path / "run")))
    history: dict[Shard, list[pa.Table]] = {}
    ended = threading.Event()

    def write() -> None:
        draw = random.Random(0)
        for number in range(1, 120):
            shard = draw.choice(SHARDS)
            failed = {shard.start} if number < 80 else set()
            table = synthetic.table(shard, failed, number)
            before = history.get(shard)
            if before is None:
                history[shard] = [table]
                manifest.commit(store, shard, table)
            elif FAILED in before[-1]["status"].to_pylist():
                before.append(table)
                assert manifest.revise(store, shard, store.get(manifest_key(shard)), table)

    def repeat(deed: Callable[[Store], object]) -> None:
        while not ended.is_set():
            deed(store)

    def read() -> int:
        count = 0
        while not ended.is_set():
            known = {
                shard: len(tables) for shard, tables in list(history.items()) if shard in set(manifest.committed(store))
            }
            found = dict(read_each(store))
            assert known.keys() <= found.keys()
            for shard, table in found.items():
                since = history[shard][max(0, known.get(shard, 1) - 2) :]
                assert any(table.equals(each) for each in since), shard
            count += 1
        return count

    with ThreadPoolExecutor(5) as pool:
        others = [
            pool.submit(repeat, deed) for deed in (compaction.compact, compaction.compact, remove_copied_manifests)
        ]
        reading = pool.submit(read)
        write()
        ended.set()
        assert reading.result() > 3
        for other in others:
            other.result()
    compaction.compact(store)
    remove_copied_manifests(store)
    assert dict(read_each(store)).keys() == history.keys()


def rows(shard: Shard) -> range:
    return range(shard.start, shard.stop)
