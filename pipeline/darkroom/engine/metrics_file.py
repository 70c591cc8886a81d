"""Metrics as a file that the textfile collector of Prometheus' node_exporter reads.

https://github.com/prometheus/node_exporter#textfile-collector: files whose names end in .prom, each replaced whole.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from darkroom.domain.errors import DarkroomError
from darkroom.engine.metrics import COUNTER, Metric, Values

Family = CounterMetricFamily | GaugeMetricFamily


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
