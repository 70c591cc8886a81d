"""How far a stage is, by time: counts, rates, what is missing, and what holds it up."""

import io
import json
import time
from dataclasses import asdict, replace

import pytest

from darkroom.engine.meter import Meter
from darkroom.engine.tasks import (
    ReadingPrompts,
    RenderedByOthers,
    ShardDone,
    ShardReport,
    Stalled,
    WorkerReady,
    WorkersPending,
    stalled,
)
from darkroom.jobs.console import JsonLines
from darkroom.jobs.progress import ProgressBar

REPORT = ShardReport(num_ok=6, num_failed=2, num_bytes=1, render_s=5.0, wall_s=6.0, num_retries=3)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("darkroom.engine.meter.time.monotonic", found)
    return found


def done(report: ShardReport = REPORT) -> ShardDone:
    return ShardDone(None, report, "worker 1")  # type: ignore[arg-type]


def test_rates_are_of_the_last_minutes_and_of_all(clock: Clock) -> None:
    meter = Meter(80, "rendering")
    meter.add(WorkerReady("worker 1", 3.0))
    clock.now += 40
    for _ in range(4):
        meter.add(done())
    clock.now += 400
    meter.add(done())
    clock.now += 10
    found = meter.state()
    assert (found.num_done, found.num_images, found.num_failed, found.num_store_retries) == (40, 80, 10, 15)
    assert found.mean_images_per_s == pytest.approx(40 / 450)
    assert found.images_per_s == pytest.approx(8 / 120)
    assert found.device_busy == pytest.approx(5 / 120)
    assert found.seconds_left == pytest.approx(40 / (8 / 120))
    assert found.seconds_since_commit == pytest.approx(10)


def test_what_other_commands_render_is_not_waited_for(clock: Clock) -> None:
    meter = Meter(80, "rendering")
    meter.add(WorkerReady("worker 1", 3.0))
    clock.now += 8
    meter.add(done())
    meter.add(RenderedByOthers(40))
    found = meter.state()
    assert (found.num_done, found.num_images, found.seconds_left) == (8, 40, pytest.approx(32))
    assert "40 more by other commands" in str(found)
    meter.add(RenderedByOthers(76))  # some of them twice
    assert meter.state().num_images == 8


def test_workers_that_are_missing_are_in_every_line(clock: Clock) -> None:
    meter = Meter(8, "rendering")
    meter.add(WorkersPending(3, 6))
    assert "3 of 6 workers ready" in str(meter.state())
    meter.add(WorkersPending(6, 6))
    assert "workers ready" not in str(meter.state())


def test_a_worker_that_is_long_at_one_stage_names_it_until_the_next_commit(clock: Clock) -> None:
    meter = Meter(80, "rendering")
    meter.add(WorkerReady("worker 1", 3.0))
    meter.add(done())
    meter.add(Stalled("worker 1", "storing images", 50.0))
    assert meter.state().stalled == ""  # the other shard was committed just now
    clock.now += 60
    assert meter.state().stalled == "stalled: worker 1 is storing images for 110 s"
    meter.add(done())
    clock.now += 60
    assert meter.state().stalled == ""


def test_prompts_that_are_slow_to_read_are_named(clock: Clock) -> None:
    meter = Meter(80, "rendering")
    meter.add(ReadingPrompts(True))
    clock.now += 100
    assert meter.state().stalled == "stalled: prompts are being read, or the store lists what is left, for 100 s"
    meter.add(ReadingPrompts(False))
    assert meter.state().stalled == ""


def test_only_a_long_stage_is_a_stall() -> None:
    assert stalled("worker 1", ("rendering", 10.0)) is None
    assert stalled("worker 1", None) is None
    assert stalled("worker 1", ("rendering", 100.0)) == Stalled("worker 1", "rendering", 100.0)


def test_lines_come_by_time_also_where_nothing_is_committed(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.jobs.progress._TICK_S", 0.02)
    monkeypatch.setattr("darkroom.jobs.progress._FIRST_LINES_EVERY_S", 0.1)
    meter = Meter(80, "rendering")
    bar = ProgressBar(meter, as_json=True)
    began = time.monotonic()
    meter.add(done())
    bar.listen(done())
    text = ""
    while (text := text + capsys.readouterr().out).count("\n") < 3:
        assert time.monotonic() - began < 60
        time.sleep(0.02)
    bar.close()
    lines = [json.loads(line) for line in (text + capsys.readouterr().out).splitlines()]
    assert len(lines) <= 2 + (time.monotonic() - began) / 0.1
    assert {line["num_done"] for line in lines} == {8}
    assert lines[-1].keys() == asdict(Meter(1, "x").state()).keys()


def test_messages_among_json_lines_are_json_too() -> None:
    stream = io.StringIO()
    lines = JsonLines(stream)
    print("worker 1 is\nready", file=lines)
    print(json.dumps({"num_done": 1}), file=lines, flush=True)
    print({"of": "python"}, file=lines)
    print("no end", file=lines, end="")
    lines.close()
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line.get("message") for line in found] == ["worker 1 is", "ready", None, "{'of': 'python'}", "no end"]
    assert found[2] == {"num_done": 1}


def test_a_report_of_failures_counts_no_row_that_nobody_wanted(clock: Clock) -> None:
    meter = Meter(8, "rendering")
    meter.add(done(replace(REPORT, num_invalid=2)))
    assert meter.state().num_done == 6
