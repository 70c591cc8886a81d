"""The worker on real stores: what it commits, and what it leaves when it does not."""

import hashlib
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from darkroom.domain.records import FAILED, INVALID, OK
from darkroom.engine.device import Stopped
from darkroom.engine.tasks import RetryTask
from darkroom.rendering.renderer import FatalDeviceError, PaintRenderer
from darkroom.runs import manifest
from darkroom.runs.files import manifest_key
from darkroom.runs.images import image_bytes
from darkroom.runs.layouts import LAYOUTS
from darkroom.runs.reading import records
from darkroom.storage.store import Store, open_store, parse_spec
from tests.engine.helpers import CELL, Misbehaving, dataset, run_info, tasks
from tests.engine.helpers import worker as make_worker


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return open_store(parse_spec(str(tmp_path / "run")))
    return open_store(parse_spec(f"s3://bucket/{uuid.uuid4().hex}", request.getfixturevalue("s3_endpoint")))


def render_all(store: Store, prompts, run, **options) -> list:
    worker = make_worker(run, Misbehaving(**options), store)
    try:
        return [worker.run_task(task, 1) for task in tasks(run, prompts, store)]
    finally:
        worker.close()


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_record_describes_a_stored_image(store: Store, layout: str) -> None:
    prompts = dataset([f"p{number}" for number in range(10)], category=[str(number % 3) for number in range(10)])
    run = run_info(prompts, layout=layout, images=2)
    reports = render_all(store, prompts, run)
    found = list(records(store))
    assert [report.num_ok for report in reports] == [8, 8, 4]
    assert len({record.image_id for record in found}) == 20
    for record in found:
        data = image_bytes(store, record)
        assert (record.status, record.sha256, record.bytes) == (OK, hashlib.sha256(data).hexdigest(), len(data))


@pytest.mark.slow
def test_pandas_reads_all_metadata_with_the_prompt_files_columns(tmp_path: Path) -> None:
    store = open_store(parse_spec(str(tmp_path)))
    prompts = dataset(["a", "b", "c", "d", "e"], category=["x", "y", None, "x", "y"])
    render_all(store, prompts, run_info(prompts, shard_size=2))
    frame = pd.read_parquet(tmp_path / "metadata").sort_values("row")
    assert frame["prompt"].tolist() == ["a", "b", "c", "d", "e"]
    assert frame["category"].fillna("-").tolist() == ["x", "y", "-", "x", "y"]
    assert set(frame["status"]) == {"ok"}


@pytest.mark.slow
def test_a_second_attempt_adopts_what_the_first_one_left(store: Store) -> None:
    prompts = dataset(["a", "b", "c"])
    for layout in LAYOUTS:
        run = run_info(prompts, layout=layout)
        [task] = tasks(run, prompts, store)
        worker = make_worker(run, Misbehaving(), store)
        assert worker.run_task(task, 1).is_first
        before = {info.key: store.get(info.key) for info in store.list()}
        assert not worker.run_task(task, 2).is_first
        assert {info.key: store.get(info.key) for info in store.list()} == before
        store.delete(before)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bad_prompt_costs_one_row(store: Store, layout: str) -> None:
    prompts = dataset(["a", "fail alone", "b", "break the batch", "c"])
    render_all(store, prompts, run_info(prompts, layout=layout))
    by_prompt = {record.prompt: record for record in records(store)}
    assert {prompt: record.status for prompt, record in by_prompt.items()} == {
        "a": OK, "b": OK, "c": OK, "fail alone": FAILED, "break the batch": FAILED
    }  # fmt: skip
    assert by_prompt["fail alone"].error == "fails alone"
    assert "breaks its batch" in by_prompt["break the batch"].error
    assert by_prompt["fail alone"].key is None


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_retry_puts_an_image_in_a_failed_records_place(store: Store, tmp_path: Path, layout: str) -> None:
    prompts = dataset(["a", "fail once", "b"], category=["x", "y", "z"])
    run = run_info(prompts, layout=layout)
    flag = str(tmp_path / "flag")
    render_all(store, prompts, run, flag=flag)
    before = list(records(store))
    assert [record.status for record in before] == [OK, FAILED, OK]
    worker = make_worker(run, Misbehaving(flag=flag), store)
    [name] = manifest.committed(store)
    assert worker.run_task(RetryTask(name, CELL), 1).num_ok == 1
    after = list(records(store))
    assert [record.status for record in after] == [OK, OK, OK]
    assert [record.image_id for record in after] == [record.image_id for record in before]
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1].attempt > before[1].attempt
    assert hashlib.sha256(image_bytes(store, after[1])).hexdigest() == after[1].sha256
    assert manifest.read(store, name)["category"].to_pylist() == ["x", "y", "z"]


@pytest.mark.slow
def test_the_manifest_carries_what_it_proves(store: Store) -> None:
    prompts = dataset(["a", "fail alone"])
    run = run_info(prompts)
    render_all(store, prompts, run)
    [name] = manifest.committed(store)
    about = pq.read_schema(__import__("io").BytesIO(store.get(manifest_key(name)))).metadata
    assert about[b"darkroom.num_images"] == b"2"
    assert about[b"darkroom.num_ok"] == b"1"
    assert about[b"darkroom.prompts_fingerprint"].decode() == run.prompts.fingerprint


@pytest.mark.slow
def test_rows_of_their_own_settings_share_a_shard(store: Store) -> None:
    prompts = dataset(["a", "b", "c"], width=[16, 32, None], num_images_per_prompt=[None, 3, 1], seed=[None, 7, None])
    render_all(store, prompts, run_info(prompts))
    found = sorted(records(store), key=lambda record: (record.row, record.sample_index))
    assert [(record.prompt, record.sampling.width) for record in found] == [
        ("a", 16),
        ("b", 32),
        ("b", 32),
        ("b", 32),
        ("c", 16),
    ]
    assert [record.seed for record in found[1:4]] == [7, 8, 9]


@pytest.mark.slow
def test_invalid_rows_become_records(store: Store, tmp_path: Path) -> None:
    from darkroom.prompts.opening import open_prompts

    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": null}\n{"prompt": "b", "width": 13}\n')
    prompts = open_prompts(str(path), on_invalid="record")
    render_all(store, prompts, run_info(prompts))
    found = list(records(store))
    assert [record.status for record in found] == [OK, INVALID, INVALID]
    assert all(record.error for record in found[1:])


class Waiting(PaintRenderer):
    """Paints its first batch once it is let go."""

    def __init__(self, batch_size: int) -> None:
        super().__init__(batch_size)
        self.let_go, self.is_reached = threading.Event(), threading.Event()

    def render(self, requests):
        self.is_reached.set()
        assert self.let_go.wait(60)
        return super().render(requests)


@pytest.mark.slow
def test_a_worker_that_is_closed_meanwhile_leaves_nothing_visible(store: Store) -> None:
    prompts = dataset(["a", "b"])
    run = run_info(prompts)
    [task] = tasks(run, prompts, store)
    renderer = Waiting(1)
    worker = make_worker(run, renderer, store)
    with ThreadPoolExecutor(1) as pool:
        attempt = pool.submit(worker.run_task, task, 1)
        assert renderer.is_reached.wait(60)
        worker.close()
        renderer.let_go.set()
        with pytest.raises((Stopped, RuntimeError)):
            attempt.result()
    assert list(records(store)) == []


@pytest.mark.slow
def test_two_shards_at_once_from_two_threads(store: Store) -> None:
    prompts = dataset([f"p{number}" for number in range(40)])
    run = run_info(prompts, shard_size=5)
    worker = make_worker(run, Misbehaving(), store)
    todo = list(tasks(run, prompts, store))
    halves = [
        threading.Thread(target=lambda part=part: [worker.run_task(task, 1) for task in part])
        for part in (todo[::2], todo[1::2])
    ]
    for thread in halves:
        thread.start()
    for thread in halves:
        thread.join()
    assert len(list(records(store))) == 40


class StuckStore:
    """A store whose puts wait until they are let go, as on a network that hangs."""

    def __init__(self, store: Store) -> None:
        self._store, self.let_go, self.is_reached = store, threading.Event(), threading.Event()

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def put_if_absent(self, key: str, data: bytes, content_type: str = "") -> bool:
        self.is_reached.set()
        assert self.let_go.wait(60)
        return self._store.put_if_absent(key, data, content_type)


@pytest.mark.slow
def test_a_closed_worker_ends_while_its_store_hangs(tmp_path: Path) -> None:
    prompts = dataset([f"p{number}" for number in range(200)])
    run = run_info(prompts, shard_size=200)
    stuck = StuckStore(open_store(parse_spec(str(tmp_path))))
    worker = make_worker(run, Misbehaving(batch_size=16), stuck)
    [task] = tasks(run, prompts, stuck)
    with ThreadPoolExecutor(1) as caller:
        shard = caller.submit(worker.run_task, task, 1)
        assert stuck.is_reached.wait(30)
        worker.close()
        try:
            assert shard.exception(timeout=30)  # less than the store hangs
        finally:
            stuck.let_go.set()


class Failing(PaintRenderer):
    """Fails its first calls as a whole."""

    num_failures = 8

    def render(self, requests):
        if self.num_failures:
            self.num_failures -= 1
            raise FatalDeviceError("lost")
        return super().render(requests)


@pytest.mark.slow
def test_failed_batches_take_no_room_from_later_ones(tmp_path: Path) -> None:
    prompts = dataset(["a", "b", "c"])
    run = run_info(prompts)
    store = open_store(parse_spec(str(tmp_path)))
    worker = make_worker(run, Failing(4), store)
    [task] = tasks(run, prompts, store)
    with ThreadPoolExecutor(1) as caller:
        for _ in range(Failing.num_failures):
            assert isinstance(caller.submit(worker.run_task, task, 1).exception(timeout=10), FatalDeviceError)
        assert caller.submit(worker.run_task, task, 1).result(timeout=10).num_ok == 3
    worker.close()


class Halved(PaintRenderer):
    """Says that memory sufficed for half a batch only."""

    def render(self, requests):
        return [replace(image, batch_size=self.info.batch_size // 2) for image in super().render(requests)]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_record_tells_the_batch_its_image_was_really_rendered_in(tmp_path: Path, layout: str) -> None:
    prompts = dataset(["a", "b"])
    store = open_store(parse_spec(str(tmp_path)))
    run = run_info(prompts, layout=layout)
    [task] = tasks(run, prompts, store)
    make_worker(run, Halved(8), store).run_task(task, 1)
    assert [record.batch_size for record in records(store)] == [4, 4]
