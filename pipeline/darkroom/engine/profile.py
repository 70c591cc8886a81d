"""Adds up the spans of many workers: a table of stages, and a trace in the Chrome format that Perfetto opens.

Format: "Trace Event Format", complete events (`X`) and metadata (`M`); times in microseconds.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from darkroom.domain.spans import STAGES, Span
from darkroom.evaluation.tables import Table, text_table

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
