"""Metrics through Ray: every node of a cluster exports those of its processes to Prometheus, under names that begin
with `ray_`, and Ray's head writes the list of nodes to scrape."""

from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge

from darkroom.engine.metrics import COUNTER, METRICS, RUN, WORK, Metric, Values


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


def _made(metric: Metric) -> Counter | Gauge:
    """Ray adds the ending of counters itself."""
    kind = Counter if metric.kind == COUNTER else Gauge
    return kind(metric.name.removesuffix("_total"), metric.help, tag_keys=metric.all_labels)
