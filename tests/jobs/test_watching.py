"""What is told of a job beside its output: metrics in a file, what it costs, and what it will leave in the store."""

import json
import re
import signal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from darkroom import open_run
from darkroom.api import watching
from darkroom.api.events import Warned
from darkroom.api.footprint import Footprint
from darkroom.api.options import EngineOptions
from darkroom.api.planning import plan
from darkroom.domain.errors import DarkroomError
from darkroom.engine.meter import Meter
from darkroom.jobs.cli import run_job
from darkroom.jobs.console import ExitCode
from darkroom.jobs.overrides import composed
from darkroom.jobs.values import request
from darkroom.runs.drivers import Spending, spent
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import PAINT
from tests.jobs.test_processes import CIRCLES, SLOW_PAINT
from tests.processes import Job, wait_for
from tests.servers import FaultyProxy

SMALL = (*PAINT, "engine.shard_size=8")  # 64 images in 8 shards


def samples(path: Path) -> dict[str, float]:
    families = text_string_to_metric_families(path.read_text())
    return {
        " ".join((sample.name, *(value for name, value in sample.labels.items() if name not in ("run", "work")))):
        sample.value for family in families for sample in family.samples
    }  # fmt: skip


# Metrics -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_job_writes_its_metrics_whole_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_EVERY_S", 0.01)
    path, ended = tmp_path / "darkroom.prom", threading.Event()
    seen: list[dict[str, float]] = []

    def read() -> None:
        while not ended.is_set():
            if path.exists():
                seen.append(samples(path))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        words = (*SMALL, f"output.uri={tmp_path / 'run'}", f"engine.metrics={path}")
        assert run_job("generate", words) is ExitCode.OK
    finally:
        ended.set()
        reader.join()
    assert any(each["darkroom_running"] == 1 for each in seen)
    assert len({frozenset(each) - {"darkroom_device_busy_ratio"} for each in seen}) <= 8  # labels come, none goes
    last = samples(path)
    assert (last["darkroom_running"], last["darkroom_records_total ok"]) == (0, 64)
    assert (last["darkroom_shards_total committed"], last["darkroom_shards_under_way"]) == (8, 0)
    assert last["darkroom_stage_shards_total rendering"] == 8
    assert last["darkroom_stage_seconds_total rendering"] > 0
    assert list(tmp_path.glob("*.prom*")) == [path]


@pytest.mark.slow
def test_metrics_that_cannot_be_written_end_no_job(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    path = tmp_path / "darkroom.prom"
    path.mkdir()
    with pytest.raises(DarkroomError, match="no file can be written there"):
        run_job("generate", (*SMALL, f"output.uri={tmp_path / 'run'}", f"engine.metrics={path}"))
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr(watching, "check_metrics_file", lambda _: None)
        words = (*SMALL, f"output.uri={tmp_path / 'run'}", f"engine.metrics={path}")
        assert run_job("generate", words) is ExitCode.OK
    assert "warning: metrics could not be written: [Errno 21] Is a directory" in capfd.readouterr().err


def test_a_file_that_node_exporter_would_not_read_is_refused() -> None:
    with pytest.raises(DarkroomError, match=r"files alone whose names end in \.prom"):
        request(composed("generate", (*PAINT, "engine.metrics=/tmp/darkroom.txt")))


# Cost ----------------------------------------------------------------------------------------------------------------


def status(capsys: pytest.CaptureFixture, run: Path) -> dict:
    capsys.readouterr()
    run_job("status", (f"run={run}", "json=true"))
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_commands_of_one_run_add_up_whatever_their_price_and_the_run_is_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = (*SMALL, f"output.uri={tmp_path / 'run'}")
    for part, price in (("1/2", 3600), ("2/2", 7200)):
        assert run_job("generate", (*words, f"engine.part={part}", f"engine.price_per_hour={price}")) is not None
    said = capsys.readouterr().out
    files = [json.loads(path.read_text()) for path in (tmp_path / "run" / "spending").iterdir()]
    assert sorted(each["price_per_hour"] for each in files) == [3600, 7200]
    for each in files:
        assert each["cost"] == pytest.approx(each["worker_s"] * each["price_per_hour"] / 3600)
        assert each["worker_s"] > 0
    total = sum(each["cost"] for each in files)
    found = status(capsys, tmp_path / "run")
    assert found["cost"] == pytest.approx(total)
    assert found["worker_seconds"] == pytest.approx(sum(each["worker_s"] for each in files))
    assert found["cost_per_image"] == found["cost_per_ok_image"] == pytest.approx(total / 64)
    assert [line.split("; ")[1] for line in said.splitlines() if line.startswith("cost of workers: ")][-1] == (
        f"{total:.3g} of the run by all commands so far"
    )
    assert run_job("generate", (*SMALL, f"output.uri={tmp_path / 'other'}")) is ExitCode.OK
    names = ("run.json", "cells", "images")
    for one, other in ((tmp_path / "run" / name, tmp_path / "other" / name) for name in names):
        assert contents(one) == contents(other)
    assert status(capsys, tmp_path / "other")["cost"] is None
    run_job("report", (f"run={tmp_path / 'run'}",))
    assert f"cost of workers</dt><dd>{total:.3g} for " in (tmp_path / "run" / "report" / "index.html").read_text()


def contents(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return {each.relative_to(path).as_posix(): each.read_bytes() for each in files}


def often() -> None:
    watching._EVERY_S, watching._SPENDING_EVERY_S = 0.1, 0.2


@pytest.mark.slow
def test_a_killed_job_has_counted_what_it_spent_and_the_next_adds_to_it(tmp_path: Path) -> None:
    words = (
        *SLOW_PAINT, *CIRCLES, "engine=local", "engine.shard_size=1", f"output.uri={tmp_path / 'run'}",
        "engine.price_per_hour=3600",
    )  # fmt: skip
    store = open_store(parse_spec(str(tmp_path / "run")))
    job = Job("generate", words, often)
    wait_for(lambda: job.returncode is not None or ((found := spent(store)) is not None and found.worker_s > 0))
    job.send_signal(signal.SIGKILL)
    job.end()
    before = spent(store)
    assert before is not None
    assert before.cost == pytest.approx(before.worker_s)
    assert run_job("generate", words) is ExitCode.OK
    after = spent(store)
    assert after is not None
    assert after.num_stages == 2
    assert after.worker_s > before.worker_s
    assert open_run(tmp_path / "run").status().spent == after


@pytest.mark.slow
def test_features_cost_too(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run_job("generate", (*SMALL, f"output.uri={tmp_path / 'run'}")) is ExitCode.OK
    measured = ("engine=local", "extractors=[pixels]", "metrics=[pixels.vendi]", "engine.price_per_hour=3600")
    path = tmp_path / "darkroom.prom"
    assert run_job("evaluate", (f"run={tmp_path / 'run'}", *measured, f"engine.metrics={path}")) is ExitCode.OK
    for stage in ("reading records and features", "reading images", "extracting features", "storing features"):
        assert samples(path)[f"darkroom_stage_seconds_total {stage}"] > 0
    found = spent(open_store(parse_spec(str(tmp_path / "run"))))
    assert found is not None
    assert found.worker_s > 0
    assert re.search(r"^cost of workers: \S+ for \S+ worker hours$", capsys.readouterr().out, re.MULTILINE)


def test_a_store_that_hangs_at_the_end_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_LONGEST_END_S", 0.2)
    store, released, said = open_store(parse_spec(str(tmp_path / "run"))), threading.Event(), []
    monkeypatch.setattr(store, "put", lambda *_: released.wait(30))
    with watching.watched(Meter(8, "rendering", 1.0), EngineOptions(price_per_hour=1.0), store, said.append):
        pass
    released.set()
    assert said == [Warned("what was spent could not be written within 0.2 s")]


def test_a_file_of_spending_that_is_none_counts_nothing(tmp_path: Path) -> None:
    store = open_store(parse_spec(str(tmp_path / "run")))
    assert spent(store) is None
    Spending(store, "rendering", 2.0).put(1800.0, 1.0)
    others = [
        b'{"worker_s": %s, "cost": 1}' % value for value in (b"null", b"NaN", b"-1", b"Infinity", b"1" + b"0" * 400)
    ]
    for number, text in enumerate((b"", b"{}", b"[]", *others)):
        store.put(f"spending/{number}.json", text)
    found = spent(store)
    assert found is not None
    assert (found.worker_s, found.cost, found.num_stages) == (1800.0, 1.0, 1)
    assert found.an_image({"ok": 4, "failed": 1}) == (0.2, 0.25)
    assert found.an_image({}) == (None, None)
    assert found.text({"ok": 4, "failed": 1}) == ("1 for 0.5 worker hours, 0.2 an image, 0.25 an image that is ok")


# Plan ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_plan_says_what_workers_cost(capsys: pytest.CaptureFixture) -> None:
    found = plan(request(composed("plan", (*SMALL, "engine.price_per_hour=3600"))), lambda _: None)
    assert found.cost is not None
    assert found.workers_cost == pytest.approx(found.cost.seconds * 64)
    assert run_job("plan", (*SMALL, "engine.price_per_hour=3600")) is ExitCode.OK
    said = capsys.readouterr().out
    assert "of workers at 3600 an hour" in said
    assert "objects: 72 in the store, 64 of them of images" in said


@pytest.fixture
def counted(s3_endpoint: str) -> Iterator[FaultyProxy]:
    with FaultyProxy(s3_endpoint) as proxy:
        yield proxy


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["files", "webdataset"])
@pytest.mark.parametrize("extractors", [0, 1])
def test_objects_and_requests_are_those_of_the_run(counted: FaultyProxy, layout: str, extractors: int) -> None:
    uri = f"s3://bucket/{uuid.uuid4().hex}"
    inline = ("evaluate=inline", "evaluation.extractors=[pixels]", "evaluation.metrics=[pixels.vendi]")
    words = (
        *SMALL, f"output.layout={layout}", f"output.uri={uri}", f"output.endpoint_url={counted.url}",
        *(inline if extractors else ()),
    )  # fmt: skip
    found = plan(request(composed("plan", words)), lambda _: None).footprint
    counted.requests.clear()
    assert run_job("generate", words) is ExitCode.OK
    asked = list(counted.requests)
    keys = [info.key for info in open_store(parse_spec(uri, counted.url)).list()]
    made = [key for key in keys if key.startswith(("images/", "metadata/", "features/"))]
    assert len(made) == found.num_objects == (8 * (2 + extractors) if layout == "webdataset" else 72 + 8 * extractors)
    puts = [path for method, path in asked if method == "PUT" and any(path.endswith(key) for key in made)]
    assert len(puts) == found.num_objects
    if not extractors:  # figures read what the run has, once
        assert len(asked) == pytest.approx(found.num_requests, abs=45), len(asked)


@pytest.mark.parametrize(
    ("footprint", "said"),
    [
        (Footprint(90_000, 90_000, 64, "files"), ""),
        (
            Footprint(1_000_000, 1_000_000, 64, "files"),
            "1,015,625 objects are many to store, list and read; output.layout=webdataset or parquet makes 31,250",
        ),
        (
            Footprint(100_000_000, 100_000_000, 64, "webdataset"),
            "3,125,000 objects are many to store, list and read; engine.shard_size=2000 makes 100,000",
        ),
        (
            Footprint(100_000_000, 400_000_000, 64, "files"),
            "401,562,500 objects are many to store, list and read; output.layout=webdataset or parquet with "
            "engine.shard_size=2000 makes 100,000",
        ),
    ],
)
def test_many_objects_are_warned_of_with_what_makes_fewer(footprint: Footprint, said: str) -> None:
    assert footprint.advice == said
