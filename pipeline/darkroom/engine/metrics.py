"""The metrics of a job, each declared once: its name, its kind, its labels, what it is, how it is read, and written.

They go into a file that the textfile collector of Prometheus' node_exporter reads, or through Ray: every node of a
cluster exports those of its processes to Prometheus, under names that begin with `ray_`, and Ray's head writes the list
of nodes to scrape. These, the documentation, the dashboard's check and that of the alert rules are derived from the
table. https://github.com/prometheus/node_exporter#textfile-collector: files whose names end in .prom, each replaced
whole.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import FAILED, FILTERED, INVALID, OK
from darkroom.engine.meter import Meter, State
from darkroom.engine.tasks import Summary

COUNTER, GAUGE = "counter", "gauge"
RUN, WORK = "run", "work"  # labels of every metric: the run's address, and the stage, such as rendering
Values = Mapping[tuple[str, ...], float]  # values of the metric's own labels, in order -> number
Family = CounterMetricFamily | GaugeMetricFamily


@dataclass(frozen=True)
class Source:
    """What a metric is read from."""

    meter: Meter
    state: State
    is_running: bool

    @property
    def summary(self) -> Summary:
        return self.meter.summary


@dataclass(frozen=True)
class Metric:
    """By Prometheus' rules for names: a counter's ends in _total, and units are basic ones."""

    name: str
    kind: str  # COUNTER or GAUGE
    help: str
    read: Callable[[Source], Values]  # a value that is not known is left out
    labels: Sequence[str] = field(default=())  # beside those of every metric

    @property
    def all_labels(self) -> tuple[str, ...]:
        return (RUN, WORK, *self.labels)


def _known(value: float | None) -> Values:
    return {} if value is None else {(): value}


def _by_status(source: Source) -> Values:
    found, summary = {OK: source.summary.num_ok}, source.summary
    found |= {INVALID: summary.num_invalid, FILTERED: summary.num_filtered}
    found[FAILED] = summary.num_failed - summary.num_invalid - summary.num_filtered
    return {(status,): number for status, number in found.items()}


def _by_outcome(source: Source) -> Values:
    summary = source.summary
    own = summary.num_shards - summary.num_adopted
    found = {"committed": own, "adopted": summary.num_adopted, "given_up": len(summary.failed_shards)}
    return {(outcome,): number for outcome, number in found.items()}


def _costs(source: Source) -> Values:
    found = {"workers": source.state.cost, "renderer": source.summary.cost or None}
    return {(of,): cost for of, cost in found.items() if cost is not None}


def _last_commit(source: Source) -> Values:
    age_s = source.state.seconds_since_commit
    return {} if age_s is None else {(): time.time() - age_s}


METRICS = (
    Metric(
        "darkroom_running", GAUGE, "1 while the command works, 0 once it has ended.",
        lambda source: {(): float(source.is_running)},
    ),
    Metric(
        "darkroom_updated_timestamp_seconds", GAUGE, "When these numbers were written last, as Unix time.",
        lambda _: {(): time.time()},
    ),
    Metric(
        "darkroom_images", GAUGE, "Images that this command has to make, or to measure.",
        lambda source: {(): source.state.num_images},
    ),
    Metric(
        "darkroom_images_done", GAUGE, "Of these, those whose shards are committed, with an image or without one.",
        lambda source: {(): source.state.num_done},
    ),
    Metric("darkroom_records_total", COUNTER, "Records that were committed, by their status.", _by_status, ("status",)),
    Metric(
        "darkroom_image_bytes_total", COUNTER, "Bytes of images that were committed.",
        lambda source: {(): source.summary.num_bytes},
    ),
    Metric(
        "darkroom_shards_total", COUNTER,
        "Shards that have ended: committed, adopted as another command had committed them, or given up.",
        _by_outcome, ("outcome",),
    ),
    Metric(
        "darkroom_shards_under_way", GAUGE, "Shards that workers hold.",
        lambda source: {(): source.state.num_under_way},
    ),
    Metric(
        "darkroom_attempts_failed_total", COUNTER, "Tries at a shard that ended without a commit.",
        lambda source: {(): source.summary.num_attempts_failed},
    ),
    Metric(
        "darkroom_last_commit_timestamp_seconds", GAUGE, "When a shard was committed last, as Unix time.", _last_commit
    ),
    Metric(
        "darkroom_stalled", GAUGE, "1 where nothing is committed and a stage has taken long, else 0.",
        lambda source: {(): float(bool(source.state.stalled))},
    ),
    Metric(
        "darkroom_stage_seconds_total", COUNTER,
        "Seconds that workers' threads were at each stage of a shard; two shards of a worker overlap.",
        lambda source: {(stage,): seconds for stage, seconds in source.meter.stage_s.items()}, ("stage",),
    ),
    Metric(
        "darkroom_stage_shards_total", COUNTER, "Shards, or loads of a model, that those seconds are of.",
        lambda source: {(stage,): number for stage, number in source.meter.stage_shards.items()}, ("stage",),
    ),
    Metric(
        "darkroom_device_busy_ratio", GAUGE, "Share of the workers' time in which devices rendered, of two minutes.",
        lambda source: _known(source.state.device_busy),
    ),
    Metric(
        "darkroom_store_retries_total", COUNTER, "Calls of the store that were made again.",
        lambda source: {(): source.summary.num_retries},
    ),
    Metric(
        "darkroom_workers_ready", GAUGE, "Workers that are ready.", lambda source: {(): source.state.num_ready}
    ),
    Metric(
        "darkroom_workers_wanted", GAUGE, "Workers that there should be.", lambda source: {(): source.state.num_wanted}
    ),
    Metric(
        "darkroom_workers_lost_total", COUNTER, "Workers that were lost.",
        lambda source: {(): source.summary.workers_lost},
    ),
    Metric(
        "darkroom_worker_seconds_total", COUNTER, "Seconds of all workers, from the begin of their loading.",
        lambda source: {(): source.state.worker_s},
    ),
    Metric(
        "darkroom_cost_total", COUNTER,
        "What was spent: on workers, by engine.price_per_hour, and on images, by their renderer's price.",
        _costs, ("of",),
    ),
)  # fmt: skip


def readings(meter: Meter, is_running: bool = True) -> dict[Metric, Values]:
    """Every metric, all of one moment: a counter that is seen to fall would be taken for one that began anew."""
    with meter.lock:
        source = Source(meter, meter.state(), is_running)
        return {metric: metric.read(source) for metric in METRICS}


# As a file -----------------------------------------------------------------------------------------------------------


def check_metrics_file(path: str) -> None:
    """Raises DarkroomError where the file could not be written."""
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise DarkroomError(f"engine.metrics={path}: there is no folder {folder}; make it, or name another")
    if Path(path).is_dir() or not os.access(folder, os.W_OK):
        raise DarkroomError(f"engine.metrics={path}: no file can be written there; make {folder} writable for you, or "
                            "name another")  # fmt: skip


class MetricsFile:
    """Replaces the file with readings."""

    def __init__(self, path: str, run: str, work: str) -> None:
        self._path = path
        self._common = (run, work)

    def put(self, found: Mapping[Metric, Values]) -> None:
        """Raises OSError."""
        registry = CollectorRegistry()
        registry.register(_Found(found, self._common))
        write_to_textfile(self._path, registry)


class _Found(Collector):
    def __init__(self, found: Mapping[Metric, Values], common: tuple[str, ...]) -> None:
        self._found = found
        self._common = common

    def collect(self) -> Iterator[Family]:
        for metric, values in self._found.items():
            kind = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=metric.all_labels)
            for labels, value in values.items():
                family.add_metric([*self._common, *labels], value)
            yield family


# Through Ray ---------------------------------------------------------------------------------------------------------


class RayMetrics:
    """Hands readings to the Ray that this process has joined."""

    def __init__(self, run: str, work: str) -> None:
        self._tags = {RUN: run, WORK: work}
        self._metrics = {metric: _made(metric) for metric in METRICS}
        self._counted: dict[tuple[Metric, tuple[str, ...]], float] = {}

    def put(self, found: Mapping[Metric, Values]) -> None:
        for metric, values in found.items():
            for labels, value in values.items():
                self._put(metric, labels, value)

    def _put(self, metric: Metric, labels: tuple[str, ...], value: float) -> None:
        tags = {**self._tags, **dict(zip(metric.labels, labels, strict=True))}
        if metric.kind != COUNTER:
            self._metrics[metric].set(value, tags)
            return
        more = value - self._counted.get((metric, labels), 0.0)
        if more > 0:  # Ray takes nothing else
            self._counted[metric, labels] = value
            self._metrics[metric].inc(more, tags)


def _made(metric: Metric) -> Any:
    """A Counter or a Gauge of Ray, which adds the ending of counters itself."""
    from ray.util.metrics import Counter, Gauge

    kind = Counter if metric.kind == COUNTER else Gauge
    return kind(metric.name.removesuffix("_total"), metric.help, tag_keys=metric.all_labels)
