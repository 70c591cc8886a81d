"""`engine.profile`: the spans of driver and workers added up, as a table of stages and as a trace of Chrome's format,
which Perfetto opens.

Format: "Trace Event Format", complete events (`X`) and metadata (`M`); times in microseconds.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from darkroom.domain.progress import STAGES, Profile, Span
from darkroom.engine.tasks import Event, Listener, ShardDone, Task
from darkroom.evaluation.tables import Table, text_table
from darkroom.runs.files import PROFILE_PREFIX
from darkroom.storage.store import Store

_MAX_TRACED = 200_000  # spans in a trace, some 30 MB; the table counts all of them
_ON_DEVICE = ("render", "features")


@dataclass
class _Stage:
    count: int = 0
    busy_s: float = 0.0
    waiting_s: float = 0.0


@dataclass
class _Worker:
    """When a worker was first and last seen at work, loading apart."""

    number: int
    first_s: float = float("inf")
    last_s: float = 0.0
    on_device_s: float = 0.0


class ProfileTotals:
    """Sums of spans as they come in, and the first of them one by one."""

    def __init__(self) -> None:
        self._totals = {stage.strip(): _Stage() for stage in STAGES}
        self._workers: dict[str, _Worker] = {}
        self._traced: list[tuple[str, Span]] = []

    def add(self, worker: str, spans: Iterable[Span]) -> None:
        """`worker` is a name for people."""
        place = self._workers.setdefault(worker, _Worker(len(self._workers)))
        for span in spans:
            total = self._totals[span.stage]
            total.count += 1
            total.busy_s += span.busy_s
            total.waiting_s += span.waiting_s
            place.first_s = min(place.first_s, span.start_s + (span.busy_s if span.stage == "load" else 0.0))
            place.last_s = max(place.last_s, span.start_s + span.busy_s)
            place.on_device_s += span.busy_s if span.stage in _ON_DEVICE else 0.0
            if len(self._traced) < _MAX_TRACED:
                self._traced.append((worker, span))

    def table(self) -> str:
        """One line a stage, then how long devices had work."""
        totals = [(stage, self._totals[stage.strip()]) for stage in STAGES]
        rows = [
            (stage, str(total.count), f"{total.busy_s:.3f}", f"{total.waiting_s:.3f}")
            for stage, total in totals
            if total.count
        ]
        table = text_table(Table(("stage", "spans", "busy s", "waiting s"), rows))
        return "\n".join([table, *self._device_line()]) + "\n"

    def trace(self) -> bytes:
        """JSON; a process a worker, a thread a thread."""
        threads: dict[tuple[str, str], int] = {}
        events = [self._event(worker, span, threads) for worker, span in self._traced]
        names = [_named("process_name", place.number, 0, worker) for worker, place in self._workers.items()]
        names += [
            _named("thread_name", self._workers[worker].number, tid, name) for (worker, name), tid in threads.items()
        ]
        return json.dumps({"displayTimeUnit": "ms", "traceEvents": names + events}).encode()

    def _event(self, worker: str, span: Span, threads: dict[tuple[str, str], int]) -> dict[str, object]:
        return {
            "name": span.stage,
            "ph": "X",
            "ts": round(span.start_s * 1e6),
            "dur": round(span.busy_s * 1e6, 1),
            "pid": self._workers[worker].number,
            "tid": threads.setdefault((worker, span.thread), len(threads)),
            "args": {"waiting_s": round(span.waiting_s, 6)},
        }

    def _device_line(self) -> list[str]:
        at_work = [place for place in self._workers.values() if place.on_device_s]
        wall_s = sum(place.last_s - place.first_s for place in at_work)
        busy_s = sum(place.on_device_s for place in at_work)
        return [f"device: busy {busy_s / wall_s:.0%} of {wall_s:.1f} worker seconds"] if wall_s else []


def _named(kind: str, pid: int, tid: int, name: str) -> dict[str, object]:
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}


class RenderProfile:
    """`engine.profile`: adds up what workers and driver measured, and stores it beside the run. Nothing when off."""

    def __init__(self, is_on: bool) -> None:
        self._driver = Profile(is_on)
        self._totals = ProfileTotals()

    def tasks(self, tasks: Iterator[Task]) -> Iterator[Task]:
        """The same tasks, their reading measured."""
        while True:
            with self._driver.span("read"):
                task = next(tasks, None)
            if task is None:
                return
            yield task

    def listener(self, listen: Listener) -> Listener:
        """Hears what `listen` hears, and hands it on."""

        def hear(event: Event) -> None:
            if isinstance(event, ShardDone):
                self._totals.add(event.worker, event.report.spans)
            listen(event)

        return hear

    def put(self, store: Store) -> tuple[str, str] | None:
        """Write the table and the trace, in the place of earlier ones: the table, and where the trace is."""
        if not self._driver.is_on:
            return None
        self._totals.add("driver", self._driver.taken())
        table = self._totals.table()
        store.put(f"{PROFILE_PREFIX}stages.txt", table.encode(), "text/plain")
        store.put(f"{PROFILE_PREFIX}trace.json", self._totals.trace(), "application/json")
        return table, store.describe(f"{PROFILE_PREFIX}trace.json")
