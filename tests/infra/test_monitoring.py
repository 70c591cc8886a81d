"""The files of infra/monitoring: each passes the checker of its kind, and asks only for metrics that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from darkroom.engine.metrics import COUNTER, METRICS
from infra.dashboard import FILE, PANELS, dashboard, text
from infra.docs_pages import metrics

MONITORING = FILE.parent
NAMES = {metric.name for metric in METRICS}
ALERTS = Path(__file__).parent / "alert_tests.yml"


def promtool(*words: str | Path) -> None:
    program = shutil.which("promtool") or pytest.skip("promtool is not installed; Debian has it in `prometheus`")
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def named(text: str) -> set[str]:
    return set(re.findall(r"\bdarkroom_\w+", text))


def test_metrics_are_named_and_labelled_by_the_rules() -> None:
    assert len(NAMES) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"darkroom_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == COUNTER)
        assert metric.help[0].isupper() or metric.help[0].isdigit()
        assert metric.help.endswith(".")


@pytest.mark.parametrize("name", ["rules.yml", "dashboard.json"])
def test_what_is_asked_for_is_there(name: str) -> None:
    asked = named((MONITORING / name).read_text())
    assert asked
    assert asked <= NAMES


def test_every_alert_has_a_test() -> None:
    alerts = re.findall(r"alert: (\w+)", (MONITORING / "rules.yml").read_text())
    assert set(re.findall(r"alertname: (\w+)", ALERTS.read_text())) == set(alerts)
    assert named(ALERTS.read_text()) <= NAMES


def test_alerts_are_raised_when_they_should_be() -> None:
    promtool("check", "rules", MONITORING / "rules.yml")
    promtool("test", "rules", ALERTS)


def test_the_configuration_is_one_of_prometheus() -> None:
    promtool("check", "config", MONITORING / "prometheus.yml")


def test_expressions_of_the_dashboard_are_promql(tmp_path: Path) -> None:
    """As rules, since that is what promtool reads."""
    expressions = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(expressions)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yml")


# The dashboard -------------------------------------------------------------------------------------------------------


def test_the_dashboard_is_what_its_maker_says() -> None:
    """`make infra` writes it."""
    assert FILE.read_text() == text()
    titles = [panel.title for panel in PANELS]
    assert len(set(titles)) == len(titles)


def unknown_keys(given: Any, kept: Any, above: str = "") -> list[str]:
    """Keys of one that are not in the other, which has more."""
    if isinstance(given, dict):
        found = [f"{above}{name}" for name in given if not isinstance(kept, dict) or name not in kept]
        return found + [
            key
            for name in given.keys() & kept.keys()
            for key in unknown_keys(given[name], kept[name], f"{above}{name}.")
        ]
    if isinstance(given, list):
        return [key for one, other in zip(given, kept, strict=True) for key in unknown_keys(one, other, above)]
    return [] if given == kept else [f"{above}={given}"]


def as_grafana_reads_it(value: dict[str, Any]) -> dict[str, Any]:
    """Through Grafana's own types, which keep what they know."""
    plugins = pytest.importorskip("grafana_foundation_sdk.cog.plugins")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(value)))


def test_grafana_knows_all_keys_of_the_dashboard() -> None:
    value = dashboard()
    assert unknown_keys(value, as_grafana_reads_it(value)) == []
    value["panels"][0]["gridPosition"] = value["panels"][0].pop("gridPos")
    assert unknown_keys(value, as_grafana_reads_it(value)) == ["panels.gridPosition"]


def test_the_documentation_lists_every_metric() -> None:
    assert named(metrics()) == NAMES
