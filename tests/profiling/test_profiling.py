import json
import threading
import time

import pytest

from darkroom.domain.spans import OFF, STAGES, Profile, Span
from darkroom.engine.profile import ProfileTotals


def test_a_span_measures_what_is_inside_and_how_long_it_lay_ready() -> None:
    profile = Profile()
    with profile.span("put", ready_s=time.time() - 5):
        time.sleep(0.02)
    [span] = profile.taken()
    assert span.busy_s >= 0.02
    assert span.waiting_s == pytest.approx(5, abs=1)
    assert (span.stage, span.thread) == ("put", threading.current_thread().name)
    assert profile.taken() == ()


def test_work_that_fails_is_measured_too() -> None:
    profile = Profile()
    with pytest.raises(KeyError), profile.span("render"):
        raise KeyError
    assert [span.stage for span in profile.taken()] == ["render"]


def test_nothing_is_kept_when_it_is_off() -> None:
    with OFF.span("put"):
        pass
    assert OFF.taken() == ()


def test_spans_of_many_threads_are_all_there() -> None:
    profile = Profile()

    def work() -> None:
        for _ in range(200):
            with profile.span("encode"):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(profile.taken()) == 1600


def account() -> ProfileTotals:
    """Two workers: ten seconds at work each after loading, five and seven of them on the device."""
    found = ProfileTotals()
    found.add("a", [Span("load", 0, 4, 0, "device"), Span("render", 4, 5, 1, "device"), Span("put", 12, 2, 0, "x")])
    found.add("b", [Span("render", 20, 4, 2, "device"), Span("score", 27, 3, 0, "device")])
    return found


def test_the_table_adds_up_and_says_how_busy_devices_were() -> None:
    lines = account().table().splitlines()
    assert [line.split() for line in lines if line.startswith(("render", "put"))] == [
        ["render", "2", "9.000", "3.000"],
        ["put", "1", "2.000", "0.000"],
    ]
    assert lines[-1] == "device: busy 60% of 20.0 worker seconds"
    assert not any(line.startswith("commit") for line in lines)


def test_the_trace_is_what_perfetto_reads() -> None:
    events = json.loads(account().trace())["traceEvents"]
    names = {(event["name"], event["args"]["name"]) for event in events if event["ph"] == "M"}
    assert names == {("process_name", "a"), ("process_name", "b"), ("thread_name", "device"), ("thread_name", "x")}
    spans = [event for event in events if event["ph"] == "X"]
    assert [(event["name"], event["ts"], event["dur"], event["pid"]) for event in spans[1:3]] == [
        ("render", 4_000_000, 5_000_000, 0),
        ("put", 12_000_000, 2_000_000, 0),
    ]
    assert {type(event[key]) for event in spans for key in ("pid", "tid")} == {int}


def test_every_stage_fits_its_column() -> None:
    assert max(map(len, STAGES)) < 12
