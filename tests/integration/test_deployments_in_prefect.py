"""What deploying does to a real Prefect, and how a worker puts back what somebody deleted or edited there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from on_prefect import Deployed, deployed
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.objects import DeploymentSchedule, FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule

from flows.history import MemoryStore, Workflow
from flows.language.yaml_source import load_workflow
from flows.on_prefect.deployment import WORK_POOL, deploy_version, limit_of
from flows.on_prefect.flow import version_of
from flows.on_prefect.schedules import ANCHOR
from ipaas.publish import go_back
from ipaas.worker.deployments import NO_LIMIT, Deployments

STEPS = "steps: [{id: note, uses: log.message, with: {text: hello}}]"
SCHEDULED = f"""
triggers:
  - schedule: {{every: 1h}}
  - schedule: {{cron: "0 9 * * 1-5", timezone: Europe/Berlin}}
{STEPS}"""


@pytest.fixture
async def client(prefect: PrefectClient) -> AsyncIterator[PrefectClient]:
    yield prefect
    for deployment in await prefect.read_deployments():
        await prefect.delete_deployment(deployment.id)


async def now(one: Deployed) -> DeploymentResponse:
    return await one.client.read_deployment(one.id)


async def in_history(one: Deployed) -> Workflow:
    workflow = await one.store.workflow(one.name)
    assert workflow is not None
    return workflow


async def deploy(one: Deployed, source: str) -> None:
    text = f"name: {one.name}\n{source}\n"
    version = version_of(load_workflow(text), text, language="yaml", file="test.yaml")
    assert await deploy_version(one.client, one.store, version) == str(one.id)


async def look(one: Deployed, times: int = 1) -> Deployments:
    deployments = Deployments(one.client, one.store)
    for _ in range(times):
        await deployments.look()
    return deployments


async def schedules(one: Deployed) -> dict[str, DeploymentSchedule]:
    return {str(schedule.slug): schedule for schedule in (await now(one)).schedules}


# Deploying


async def test_every_is_counted_from_a_fixed_time(client: PrefectClient) -> None:
    one = await deployed(client, SCHEDULED)

    assert (await schedules(one))["schedule-1"].schedule.anchor_date == ANCHOR  # type: ignore[union-attr]


async def test_going_back_puts_the_older_versions_limit_and_schedules_in_force(client: PrefectClient) -> None:
    one = await deployed(client, SCHEDULED + "\nconcurrency: 3")
    older = (await in_history(one)).current.version
    await deploy(one, "triggers: [{schedule: {every: 2h}}]\n" + STEPS)
    assert (limit_of(await now(one)), sorted(await schedules(one))) == (10, ["schedule-1"])

    went = await go_back(client, one.store, one.name, older)

    deployment = await now(one)
    assert (deployment.version, limit_of(deployment)) == (older, 3)
    assert sorted(await schedules(one)) == ["schedule-1", "schedule-2"]
    workflow = await in_history(one)
    assert (workflow.current, workflow.concurrency_limit, workflow.deployment_id) == (went, 3, str(one.id))


async def test_deploying_again_leaves_the_schedules_and_their_runs_as_they_are(client: PrefectClient) -> None:
    one = await deployed(client, SCHEDULED)
    before = await schedules(one)
    await client.update_deployment_schedule(one.id, before["schedule-2"].id, active=False)
    await deploy(one, SCHEDULED + "\ntags: [sales]")
    coming = await coming_runs(one)
    await deploy(one, SCHEDULED + "\ntags: [sales, eu]")

    after = await schedules(one)
    assert {slug: schedule.id for slug, schedule in after.items()} == {
        slug: schedule.id for slug, schedule in before.items()
    }
    assert (after["schedule-1"].active, after["schedule-2"].active) == (True, False)
    assert {run.expected_start_time for run in coming} <= {run.expected_start_time for run in await coming_runs(one)}, (
        "a run that is due soon is there at once, not when Prefect's scheduler next looks"
    )


async def test_deploying_the_same_again_changes_nothing(client: PrefectClient) -> None:
    one = await deployed(client, SCHEDULED)
    await deploy(one, SCHEDULED)
    before = await now(one)
    await deploy(one, SCHEDULED)

    assert await now(one) == before


async def test_deploying_makes_the_schedules_those_of_the_definition(client: PrefectClient) -> None:
    one = await deployed(client, SCHEDULED)
    first = (await schedules(one))["schedule-1"]
    added = CronSchedule(cron="0 0 1 1 *")
    await client.create_deployment_schedules(one.id, [(added, True)])

    await deploy(one, f"triggers: [{{schedule: {{every: 2h}}}}]\n{STEPS}")

    [(slug, schedule)] = (await schedules(one)).items()
    assert (slug, schedule.id) == ("schedule-1", first.id)
    assert schedule.schedule.interval == timedelta(hours=2)  # type: ignore[union-attr]


async def test_deploying_sets_the_declared_limit(client: PrefectClient) -> None:
    one = await deployed(client, f"concurrency: 3\n{STEPS}")
    await client.update_deployment(one.id, DeploymentUpdate(concurrency_limit=7))
    await look(one)
    assert (await in_history(one)).concurrency_limit == 7

    await deploy(one, f"concurrency: 3\n{STEPS}")

    assert (limit_of(await now(one)), (await in_history(one)).concurrency_limit) == (3, 3)


# What is edited and deleted in Prefect


@pytest.mark.parametrize(("edited", "then"), [(1, 1), (0, 0), (None, NO_LIMIT)])
async def test_a_limit_edited_in_prefect_is_taken_over(client: PrefectClient, edited: int | None, then: int) -> None:
    one = await deployed(client)
    if edited is None:
        await client.update_deployment(one.id, DeploymentUpdate(concurrency_limit=None))
    else:
        limit = (await now(one)).global_concurrency_limit
        assert limit is not None
        await client.request(
            "PATCH", "/v2/concurrency_limits/{id}", path_params={"id": limit.id}, json={"limit": edited}
        )  # type: ignore[arg-type]

    deployments = await look(one)

    assert (await in_history(one)).concurrency_limit == then
    assert deployments.limits[one.id] == then


async def test_a_deployment_that_was_deleted_is_made_again_with_its_limit_and_schedules(client: PrefectClient) -> None:
    one = await deployed(client, f"concurrency: 3\n{SCHEDULED}")
    await one.store.set_limit(one.name, 2)
    await client.delete_deployment(one.id)

    await look(one)

    again = await client.read_deployment(UUID((await in_history(one)).deployment_id))
    assert again.id != one.id
    assert (limit_of(again), len(again.schedules), again.entrypoint) == (2, 2, f"flows.published.{one.name}")


async def test_a_closed_workflows_deployment_is_made_again_closed(client: PrefectClient) -> None:
    one = await deployed(client, SCHEDULED)
    await one.store.set_active(one.name, False)
    await client.delete_deployment(one.id)

    await look(one)

    assert (await client.read_deployment(UUID((await in_history(one)).deployment_id))).paused


async def test_a_workflow_that_was_only_published_is_not_deployed(client: PrefectClient) -> None:
    store = MemoryStore()
    text = f"name: w{uuid4().hex}\n{STEPS}\n"
    await store.publish(version_of(load_workflow(text), text, language="yaml", file="test.yaml"))

    deployments = Deployments(client, store)
    await deployments.look()

    assert deployments.ids == []
    assert await client.read_deployments() == []


async def test_a_deployment_whose_work_pool_was_deleted_gets_it_again(client: PrefectClient) -> None:
    one = await deployed(client)
    run = await one.create()
    await client.delete_work_pool(WORK_POOL)
    assert (await now(one)).work_queue_id is None
    repaired: list[bool] = []

    await Deployments(client, one.store, on_repaired=lambda: repaired.append(True)).look()

    assert (await now(one)).work_pool_name == WORK_POOL
    assert repaired == [True]
    assert (await one.now(run)).work_queue_id is None, "why such runs are fetched by their deployment"


async def test_a_schedule_that_was_deleted_is_made_again(client: PrefectClient) -> None:
    one = await deployed(client, SCHEDULED)
    await client.delete_deployment_schedule(one.id, (await schedules(one))["schedule-1"].id)

    await look(one)

    assert set(await schedules(one)) == {"schedule-1", "schedule-2"}


async def test_a_schedule_that_was_edited_in_prefect_stays_so(client: PrefectClient) -> None:
    one = await deployed(client, SCHEDULED)
    edited = CronSchedule(cron="30 10 * * *", timezone="UTC")
    await client.update_deployment_schedule(one.id, (await schedules(one))["schedule-2"].id, schedule=edited)

    await look(one, times=2)

    assert (await schedules(one))["schedule-2"].schedule == edited


async def test_a_deployment_of_an_older_version_is_put_right_but_not_one_that_is_being_deployed(
    client: PrefectClient,
) -> None:
    """A deploy makes the deployment before it publishes; a restored database has an older one for good."""
    one = await deployed(client)
    current = (await in_history(one)).current.version
    await client.update_deployment(one.id, DeploymentUpdate(version="older"))

    deployments = await look(one)
    being_deployed = (await now(one)).version
    await deployments.look()

    assert (being_deployed, (await now(one)).version) == ("older", current)


async def test_one_workflow_that_can_not_be_put_right_does_not_hide_the_others(
    client: PrefectClient, caplog: Any
) -> None:
    one = await deployed(client)
    broken = await deployed(client, store=one.store)
    await client.delete_deployment(broken.id)
    await client.update_deployment(one.id, DeploymentUpdate(concurrency_limit=4))

    real = one.store.set_deployment

    async def refuse(workflow: str, deployment_id: str | None) -> None:
        if workflow == broken.name:
            raise ValueError("no")
        await real(workflow, deployment_id)

    one.store.set_deployment = refuse  # type: ignore[method-assign]
    deployments = Deployments(client, one.store)
    await deployments.look()
    await deployments.look()

    assert (await in_history(one)).concurrency_limit == 4
    assert caplog.text.count(f"workflow {broken.name}: its deployment can't be put right") == 1


async def coming_runs(one: Deployed) -> list[FlowRun]:
    """Those of the next hours."""
    until = datetime.now(UTC) + timedelta(hours=3)
    return await one.client.get_scheduled_flow_runs_for_deployments([one.id], scheduled_before=until)
