"""Watches a stage while it works: its metrics, for Prometheus, and what its workers have cost, kept in the run.

Nothing here ends a job, or makes it wait for a store that hangs.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

from darkroom.api.events import Progress, Warned
from darkroom.api.options import EngineOptions
from darkroom.domain.errors import first_line
from darkroom.engine.meter import Meter
from darkroom.engine.metrics import Metric, MetricsFile, RayMetrics, Values, check_metrics_file, readings
from darkroom.runs.drivers import Spending
from darkroom.storage.store import Store

_EXPORTER = "opentelemetry.exporter.prometheus"  # of `ray[default]`: without it no node of Ray exports anything
_EVERY_S, _SPENDING_EVERY_S = 5.0, 30.0
_LONGEST_END_S, _LONGEST_STOP_S = 10.0, 2.0  # for the last writes: at the end, and where the stage is stopped

PutMetrics = Callable[[Mapping[Metric, Values]], None]


def check_watching(options: EngineOptions, progress: Progress) -> None:
    """Raises DarkroomError for metrics that could not be written; warns of those that no one will see."""
    if options.metrics is not None:
        check_metrics_file(options.metrics)
    elif options.cluster_address and not _is_exported():
        progress(Warned("this machine's Ray exports no metrics; pip install 'darkroom[cluster]' for ray[default]"))


def _is_exported() -> bool:
    try:
        return find_spec(_EXPORTER) is not None
    except ModuleNotFoundError:
        return False


@contextmanager
def watched(meter: Meter, options: EngineOptions, store: Store, progress: Progress) -> Iterator[None]:
    """Inside, the stage that the meter counts is watched; what could not be written is told at the end."""
    watch = _Watch(meter, _put_metrics(options, store.describe(), meter.stage), _spending(options, store, meter.stage))
    watch.start()
    longest_s = _LONGEST_STOP_S
    try:
        yield
        longest_s = _LONGEST_END_S
    finally:
        for fault in watch.end(longest_s):
            progress(Warned(fault))


def _put_metrics(options: EngineOptions, run: str, work: str) -> PutMetrics | None:
    """Into the file, or through the Ray that was joined; not both, since numbers would be there twice."""
    if options.metrics is not None:
        return MetricsFile(options.metrics, run, work).put
    if options.kind == "local":
        return None
    return RayMetrics(run, work).put


def _spending(options: EngineOptions, store: Store, work: str) -> Spending | None:
    return None if options.price_per_hour is None else Spending(store, work, options.price_per_hour)


class _Watch:
    """A thread that writes now and then, and once more at the end."""

    def __init__(self, meter: Meter, put_metrics: PutMetrics | None, spending: Spending | None) -> None:
        self._faults: dict[str, str] = {}  # what -> why it was not written at last
        self._writing = ""  # what is written now
        self._meter = meter
        self._put_metrics = put_metrics
        self._spending = spending
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="watch", daemon=True)

    def start(self) -> None:
        if self._put_metrics or self._spending:
            self._thread.start()

    def end(self, longest_s: float) -> list[str]:
        """Why what was written last is not there, in sentences."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(longest_s)
        found = self._faults.copy()
        if self._thread.is_alive():
            found[self._writing] = f"{self._writing} could not be written within {longest_s:g} s"
        return list(found.values())

    def _keep_up(self) -> None:
        since_spending_s = 0.0
        self._write_metrics()
        while not self._ended.wait(_EVERY_S):
            since_spending_s += _EVERY_S
            self._write_metrics()
            if since_spending_s >= _SPENDING_EVERY_S:
                since_spending_s = 0.0
                self._write_spending()
        self._write_metrics(is_running=False)
        self._write_spending()

    def _write_metrics(self, is_running: bool = True) -> None:
        put = self._put_metrics
        if put:
            self._write("metrics", lambda: put(readings(self._meter, is_running)))

    def _write_spending(self) -> None:
        if self._spending:
            state = self._meter.state()
            cost = state.cost or 0.0
            spending = self._spending
            self._write("what was spent", lambda: spending.put(state.worker_s, cost))

    def _write(self, what: str, write: Callable[[], None]) -> None:
        self._writing = what
        try:
            write()
            self._faults.pop(what, None)
        except Exception as error:  # whatever a disk, a store or Ray says: the job goes on
            self._faults[what] = f"{what} could not be written: {first_line(error)}"
