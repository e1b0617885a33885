"""`prefect.yaml` says of each shipped workflow what the workflow itself says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.flows import load_flow_from_entrypoint
from ruamel.yaml import YAML

from flows.language.definition import Schedule
from flows.on_prefect.deployment import COLLISION, WORK_POOL
from flows.on_prefect.flow import WorkflowFlow
from ipaas.checking import CATALOG
from ipaas.publish import compile_files

DOCUMENT: dict[str, Any] = YAML(typ="safe").load(Path(__file__).parents[2] / "prefect.yaml")
DEPLOYMENTS: dict[str, dict[str, Any]] = {one["name"]: one for one in DOCUMENT["deployments"]}
FLOWS: dict[str, WorkflowFlow] = {flow.name: flow for flow in compile_files([CATALOG])}


def test_it_deploys_every_shipped_workflow() -> None:
    assert set(DEPLOYMENTS) == set(FLOWS)


@pytest.mark.parametrize("name", sorted(FLOWS))
def test_a_deployment_says_what_the_workflow_says(name: str) -> None:
    deployment, declaration = DEPLOYMENTS[name], FLOWS[name].declaration

    assert deployment["description"] == declaration.description
    assert deployment["tags"] == list(declaration.tags)
    assert deployment["work_pool"] == {"name": WORK_POOL}
    assert deployment["concurrency_limit"] == {
        "limit": declaration.limit,
        "collision_strategy": COLLISION.collision_strategy.value,
    }
    assert deployment.get("schedules", []) == [
        {"cron": trigger.cron, "timezone": trigger.timezone}
        for trigger in declaration.triggers
        if isinstance(trigger, Schedule)
    ]


@pytest.mark.parametrize("name", sorted(FLOWS))
def test_its_entrypoint_imports_the_workflow_and_its_step_publishes_the_same(name: str) -> None:
    deployment = DEPLOYMENTS[name]

    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)

    assert isinstance(flow, WorkflowFlow)
    assert flow.published.version == FLOWS[name].published.version
    step = {"ipaas.publish.publish_entrypoint": {"entrypoint": deployment["entrypoint"]}}
    assert (deployment["push"], deployment["version"]) == ([step], "{{ version }}")
