import json

from darkroom.domain.progress import Span
from darkroom.engine.profile import ProfileTotals


def two_workers() -> ProfileTotals:
    """Two workers: ten seconds at work each after loading, five and seven of them on the device."""
    found = ProfileTotals()
    found.add("a", [Span("load", 0, 4, 0, "device"), Span("render", 4, 5, 1, "device"), Span("put", 12, 2, 0, "x")])
    found.add("b", [Span("render", 20, 4, 2, "device"), Span("features", 27, 3, 0, "device")])
    return found


def test_the_table_adds_up_and_says_how_busy_devices_were() -> None:
    lines = two_workers().table().splitlines()
    assert [line.split() for line in lines if line.startswith(("render", "put"))] == [
        ["render", "2", "9.000", "3.000"],
        ["put", "1", "2.000", "0.000"],
    ]
    assert lines[-1] == "device: busy 60% of 20.0 worker seconds"
    assert not any(line.startswith("commit") for line in lines)


def test_the_trace_is_what_perfetto_reads() -> None:
    events = json.loads(two_workers().trace())["traceEvents"]
    names = {(event["name"], event["args"]["name"]) for event in events if event["ph"] == "M"}
    assert names == {("process_name", "a"), ("process_name", "b"), ("thread_name", "device"), ("thread_name", "x")}
    spans = [event for event in events if event["ph"] == "X"]
    assert [(event["name"], event["ts"], event["dur"], event["pid"]) for event in spans[1:3]] == [
        ("render", 4_000_000, 5_000_000, 0),
        ("put", 12_000_000, 2_000_000, 0),
    ]
    assert {type(event[key]) for event in spans for key in ("pid", "tid")} == {int}
