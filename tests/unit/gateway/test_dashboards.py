"""The Grafana dashboard and the alert rules ask for metrics that exist, by labels that they have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from ruamel.yaml import YAML

from ipaas.gateway.metrics import Metrics
from ipaas.worker.metrics import WorkerMetrics

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations"
DASHBOARD = json.loads((OPERATIONS / "grafana-dashboard.json").read_text())
RULES = YAML(typ="safe").load(OPERATIONS / "prometheus-alerts.yaml")

SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}


def known(registry: CollectorRegistry) -> Iterator[tuple[str, set[str]]]:
    """Every series that a registry can show, with its labels."""
    for collector in registry._collector_to_names:
        labels = set(getattr(collector, "_labelnames", ()))
        for metric in [*collector.collect()]:
            for suffix in SUFFIXES[metric.type]:
                yield metric.name + suffix, labels | ({"le"} if suffix == "_bucket" else set())


KNOWN = dict([*known(Metrics().registry), *known(WorkerMetrics().registry)])


def expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    for group in RULES["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


@pytest.mark.parametrize("expression", list(expressions()))
def test_every_metric_exists(expression):
    names = re.findall(r"\b(?:ipaas|process)_[a-z_]+", expression)
    assert names
    assert set(names) <= KNOWN.keys()


@pytest.mark.parametrize("expression", list(expressions()))
def test_every_label_exists(expression):
    grouped = {label.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(",")}
    for name, selector in re.findall(r"\b((?:ipaas|process)_[a-z_]+)(\{[^}]*\})?", expression):
        selected = set(re.findall(r"[{,]\s*(\w+)\s*[=!]", selector))
        assert grouped | selected <= KNOWN[name] | {"instance"}


def test_the_dashboard_shows_every_metric_of_ours():
    shown = set(re.findall(r"\bipaas_[a-z_]+", " ".join(expressions())))
    ours = {name for name in KNOWN if name.startswith("ipaas_") and not name.endswith(("_sum", "_count"))}
    assert ours == shown


def test_every_alert_says_how_bad_it_is_and_what_it_means():
    for rule in RULES["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
