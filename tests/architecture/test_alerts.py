"""Alerts, their tests, runbooks and the board belong together, and name metrics that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.metrics.catalogue import COUNTING, GAUGES
from pipeline.metrics.instruments import MetricCounter, MetricHistogram

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "infra" / "prometheus" / "rules" / "faceline.yml"
TESTS = ROOT / "infra" / "prometheus" / "tests.yml"
BOARD = ROOT / "infra" / "grafana" / "faceline.json"
RUNBOOKS = ROOT / "docs" / "runbooks.md"


def alerts() -> dict[str, Any]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def queries() -> list[str]:
    """The queries of the board."""
    panels = json.loads(BOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def series_names() -> set[str]:
    """The series that the service shows."""
    names = {gauge.name for gauge in GAUGES}
    for each in COUNTING:
        if isinstance(each, MetricCounter):
            names.add(f"{each.name}_total")
        elif isinstance(each, MetricHistogram):
            names |= {f"{each.name}_{part}" for part in ("bucket", "sum", "count")}
    return names


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    sections = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)

    assert sorted(sections) == sorted(alerts())


@pytest.mark.parametrize("name", sorted(alerts()))
def test_an_alert_says_what_happened_how_urgent_it_is_and_where_help_stands(name: str) -> None:
    alert = alerts()[name]

    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert alert["annotations"]["summary"].endswith(".")
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"


def test_each_alert_is_tested_with_and_without_its_cause() -> None:
    names = [test["name"] for test in yaml.safe_load(TESTS.read_text())["tests"]]

    assert sorted(names) == sorted(f"{name} {how}" for name in alerts() for how in
                                   ("fires", "is quiet"))


def test_alerts_and_board_name_series_that_exist() -> None:
    expressions = [*queries(), *(alert["expr"] for alert in alerts().values())]
    named = {name for each in expressions for name in re.findall(r"\bfaceline_\w+", each)}

    assert named - series_names() == set()


def test_every_metric_is_on_the_board_or_in_an_alert() -> None:
    text = " ".join([*queries(), *(alert["expr"] for alert in alerts().values())])

    assert [each.name for each in (*COUNTING, *GAUGES) if each.name not in text] == []
