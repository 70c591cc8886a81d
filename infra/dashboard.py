"""Writes infra/monitoring/dashboard.json: a panel a question that a person asks of a job. For Grafana 10 or newer.

python -m infra.dashboard
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "monitoring" / "dashboard.json"
_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 3  # of a panel, in Grafana's units, and panels a row
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_CHOSEN = 'run=~"$run"'


@dataclass(frozen=True)
class Panel:
    """One question, and the expressions that answer it: legend -> PromQL, `RUNS` for the runs that are chosen."""

    title: str
    unit: str  # by Grafana's names
    expressions: dict[str, str]
    kind: str = "timeseries"


PANELS = (
    Panel(
        "How far", "percentunit",
        {"{{run}}, {{work}}": "sum by (run, work) (darkroom_images_done{RUNS})"
                              " / sum by (run, work) (darkroom_images{RUNS})"},
        "bargauge",
    ),
    Panel(
        "Time left", "s",
        {"{{run}}, {{work}}": "(sum by (run, work) (darkroom_images{RUNS} - darkroom_images_done{RUNS}))"
                              " / sum by (run, work) (rate(darkroom_records_total{RUNS}[10m]))"},
        "stat",
    ),
    Panel(
        "Since the last commit", "s",
        {"{{run}}, {{work}}": "time() - max by (run, work) (darkroom_last_commit_timestamp_seconds{RUNS})"
                              " and max by (run, work) (darkroom_running{RUNS}) == 1"},
        "stat",
    ),
    Panel(
        "How fast: images a second", "short",
        {"{{run}}, {{work}}": "sum by (run, work) (rate(darkroom_records_total{RUNS}[5m]))"},
    ),
    Panel(
        "What fails, a minute", "short",
        {
            "images {{status}}": 'sum by (status) (rate(darkroom_records_total{RUNS, status!="ok"}[5m])) * 60',
            "tries at shards": "sum(rate(darkroom_attempts_failed_total{RUNS}[5m])) * 60",
            "shards given up": 'sum(rate(darkroom_shards_total{RUNS, outcome="given_up"}[5m])) * 60',
            "workers lost": "sum(rate(darkroom_workers_lost_total{RUNS}[5m])) * 60",
            "store calls made again": "sum(rate(darkroom_store_retries_total{RUNS}[5m])) * 60",
        },
    ),
    Panel(
        "Workers and shards", "short",
        {
            "workers ready": "sum(darkroom_workers_ready{RUNS})",
            "workers wanted": "sum(darkroom_workers_wanted{RUNS})",
            "shards under way": "sum(darkroom_shards_under_way{RUNS})",
        },
    ),
    Panel(
        "What waits: threads at each stage", "short",
        {"{{stage}}": "sum by (stage) (rate(darkroom_stage_seconds_total{RUNS}[5m]))"},
    ),
    Panel(
        "Devices busy", "percentunit", {"{{run}}, {{work}}": "darkroom_device_busy_ratio{RUNS}"},
    ),
    Panel(
        "What it costs", "short",
        {
            "{{run}}, by this command": "sum by (run) (darkroom_cost_total{RUNS})",
            "{{run}}, an image that is ok": "sum by (run) (darkroom_cost_total{RUNS})"
                                            ' / sum by (run) (darkroom_records_total{RUNS, status="ok"})',
        },
        "stat",
    ),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    return {
        "uid": "darkroom",
        "title": "Darkroom",
        "description": "Jobs that render and measure images: how far, how fast, what fails, what waits, what it costs.",
        "tags": ["darkroom"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_source(), _runs()]},
        "panels": [_panel(number, each) for number, each in enumerate(PANELS)],
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _runs() -> dict[str, Any]:
    return {
        "name": "run",
        "label": "Run",
        "type": "query",
        "datasource": _SOURCE,
        "query": "label_values(darkroom_images, run)",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, _COLUMNS)
    return {
        "id": number + 1,
        "title": panel.title,
        "type": panel.kind,
        "datasource": _SOURCE,
        "gridPos": {"h": _HEIGHT, "w": _WIDTH, "x": column * _WIDTH, "y": row * _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": expression.replace("RUNS", _CHOSEN), "legendFormat": legend}
            for index, (legend, expression) in enumerate(panel.expressions.items())
        ],
    }


def text() -> str:
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
