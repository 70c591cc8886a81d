"""Metrics are what a stage's events say, in the file that node_exporter reads."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from darkroom.domain.errors import DarkroomError
from darkroom.engine.meter import Meter
from darkroom.engine.metrics import METRICS, MetricsFile, check_metrics_file, readings
from darkroom.engine.tasks import (
    AttemptFailed,
    AttemptStarted,
    ShardDone,
    ShardReport,
    Stalled,
    WorkerLost,
    WorkerReady,
    WorkersGone,
    WorkersPending,
)

REPORT = ShardReport(
    num_ok=5, num_failed=3, num_invalid=1, num_filtered=1, num_bytes=70, render_s=2.0, wall_s=3.0, num_retries=4,
    cost=0.5, stage_s={"rendering": 2.0, "storing images": 0.25},
)  # fmt: skip


@pytest.fixture
def meter() -> Meter:
    """Of two workers that were wanted, one is ready; of four attempts one failed, one is under way."""
    found = Meter(80, "rendering", 7200.0)
    for event in (
        WorkerReady("worker 1", 3.0),
        WorkersPending(1, 2),
        *(AttemptStarted(None, "worker 1") for _ in range(4)),  # type: ignore[arg-type]
        *(ShardDone(None, REPORT, "worker 1") for _ in range(2)),  # type: ignore[arg-type]
        AttemptFailed(None, 1, "x", final=True),  # type: ignore[arg-type]
        WorkerLost("worker 2", "x"),
    ):
        found.add(event)
    return found


def written(meter: Meter, path: Path) -> dict[str, float]:
    """name{own labels} -> value, as Prometheus' own parser reads the file."""
    MetricsFile(str(path), "s3://bucket/a", "rendering").put(readings(meter))
    found = {}
    for family in text_string_to_metric_families(path.read_text()):
        for sample in family.samples:
            assert (sample.labels.pop("run"), sample.labels.pop("work")) == ("s3://bucket/a", "rendering")
            found[f"{sample.name} {' '.join(sample.labels.values())}".strip()] = sample.value
    return found


def test_the_file_says_what_the_events_said(meter: Meter, tmp_path: Path) -> None:
    found = written(meter, tmp_path / "darkroom.prom")
    assert found["darkroom_running"] == 1
    statuses = ("ok", "failed", "invalid", "filtered")
    assert [found[f"darkroom_records_total {status}"] for status in statuses] == [10, 2, 2, 2]
    assert (found["darkroom_images"], found["darkroom_images_done"]) == (80, 14)
    assert (found["darkroom_shards_total committed"], found["darkroom_shards_total given_up"]) == (2, 1)
    assert (found["darkroom_shards_under_way"], found["darkroom_attempts_failed_total"]) == (1, 1)
    assert (found["darkroom_workers_ready"], found["darkroom_workers_wanted"]) == (1, 2)
    assert (found["darkroom_workers_lost_total"], found["darkroom_store_retries_total"]) == (1, 8)
    assert found["darkroom_image_bytes_total"] == 140
    assert found["darkroom_stage_seconds_total rendering"] == 4.0
    assert found["darkroom_stage_shards_total storing images"] == 2
    assert found["darkroom_stage_seconds_total loading"] == 3.0
    assert found["darkroom_cost_total renderer"] == 1.0
    assert found["darkroom_cost_total workers"] == pytest.approx(2 * found["darkroom_worker_seconds_total"], rel=0.01)
    assert 3.0 <= found["darkroom_worker_seconds_total"] < 5.0
    assert found["darkroom_stalled"] == 0
    families = {metric.name.removesuffix("_total") for metric in METRICS}
    assert {name.split()[0].removesuffix("_total") for name in found} == families


def test_a_stall_is_a_number_too(meter: Meter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("darkroom.engine.meter.STALL_S", -1.0)
    meter.add(Stalled("worker 1", "storing images", 50.0))
    assert written(meter, tmp_path / "darkroom.prom")["darkroom_stalled"] == 1


def test_nothing_is_said_of_what_is_not_known(tmp_path: Path) -> None:
    found = written(Meter(8, "rendering"), tmp_path / "darkroom.prom")
    assert "darkroom_last_commit_timestamp_seconds" not in found
    assert not any(name.startswith("darkroom_cost_total") for name in found)


def test_workers_cost_from_the_begin_of_their_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("darkroom.engine.meter.time.monotonic", lambda: now[0])
    meter = Meter(8, "rendering", 36.0)
    now[0] += 100  # nobody is there yet
    meter.add(WorkerReady("worker 1", 5.0))
    now[0] += 10
    meter.add(WorkerReady("worker 2", 5.0))
    now[0] += 10
    meter.add(WorkersPending(1, 2))
    now[0] += 10
    assert meter.state().worker_s == pytest.approx(5 + 10 + 5 + 2 * 10 + 10)
    assert meter.state().cost == pytest.approx(0.5)
    assert "cost 0.5" in str(meter.state())
    meter.add(WorkersGone())
    now[0] += 1000  # as when what was rendered before is counted
    assert meter.state().worker_s == pytest.approx(50)
    assert Meter(8, "rendering").state().cost is None


@pytest.mark.parametrize(
    ("name", "said"), [("none/x.prom", "there is no folder"), ("", "no file can be written there")]
)
def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(DarkroomError, match=said):
        check_metrics_file(str(tmp_path / name))
