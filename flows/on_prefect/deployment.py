"""Deploying: a workflow version becomes a Prefect flow and deployment, and the history's current version."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from flows.history import HistoryStore, Workflow, WorkflowVersion
from flows.language.definition import Declaration, Failure, Poll, Schedule
from flows.language.event import parameter_schema
from flows.on_prefect.internals import plan_runs
from flows.on_prefect.loader import ENTRYPOINT
from flows.on_prefect.schedules import declared_schedules, set_schedules

WORK_POOL = "ipaas"
WORK_POOL_TYPE = "ipaas"
JOB_TEMPLATE = {
    "job_configuration": {"env": "{{ env }}"},
    "variables": {
        "type": "object",
        "properties": {
            "env": {
                "title": "Environment variables",
                "type": "object",
                "description": "Not used: no process is started per run.",
            }
        },
    },
}
"""Prefect wants at least one variable."""
COLLISION = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
"""What Prefect does with a run that finds no slot. Whether such a one waits or is cancelled is the history's to say: a
slot that is free there is given back in Prefect a moment later."""


def work_pool() -> WorkPoolCreate:
    return WorkPoolCreate(
        name=WORK_POOL,
        type=WORK_POOL_TYPE,
        description="Runs workflows in the warm processes of prefect-ipaas.",
        base_job_template=JOB_TEMPLATE,
    )


async def ensure_work_pool(client: PrefectClient) -> None:
    try:
        await client.read_work_pool(WORK_POOL)
    except ObjectNotFound:
        try:
            await client.create_work_pool(work_pool())
        except ObjectAlreadyExists:
            return  # another process was faster


async def find_deployment(client: PrefectClient, workflow: str) -> str | None:
    """The id of the workflow's deployment, whoever made it."""
    found = await _read(client, workflow)
    return str(found.id) if found else None


async def deploy_version(client: PrefectClient, store: HistoryStore, version: WorkflowVersion) -> str:
    """Makes or changes the Prefect deployment of a version, then publishes it; the deployment's id.

    In this order, so that whatever breaks in between leaves the old version in force. A limit that was edited in
    Prefect's UI is the declared one again.
    """
    declaration = Declaration.model_validate(version.declaration)
    limit, known = declaration.limit, await store.workflow(declaration.name)
    deployment_id = await _deploy(client, version, declaration, limit=limit, active=known is None or known.active)
    await store.publish(version)
    await store.set_deployment(declaration.name, deployment_id)
    await store.set_limit(declaration.name, limit)
    return deployment_id


async def deploy_again(client: PrefectClient, store: HistoryStore, workflow: Workflow) -> str:
    """Makes Prefect's deployment of a published workflow what the history says, its present limit included.

    Nothing is published: a deploy that is under way elsewhere goes on undisturbed.
    """
    declaration = Declaration.model_validate(workflow.current.declaration)
    limit = workflow.concurrency_limit
    deployment_id = await _deploy(client, workflow.current, declaration, limit=limit, active=workflow.active)
    await store.set_deployment(workflow.name, deployment_id)
    return deployment_id


async def _deploy(
    client: PrefectClient, version: WorkflowVersion, declaration: Declaration, *, limit: int, active: bool
) -> str:
    await ensure_work_pool(client)
    wanted: dict[str, Any] = {
        "version": version.version,
        "description": _description(declaration, version),
        "tags": list(declaration.tags),
        "entrypoint": f"{ENTRYPOINT}{declaration.name}",
        "work_pool_name": WORK_POOL,
        "concurrency_limit": limit,
        "concurrency_options": COLLISION,
        "parameter_openapi_schema": parameter_schema(dict(declaration.input) if declaration.input else None),
        "enforce_parameter_schema": True,
        "paused": not active,
    }
    schedules = declared_schedules(declaration)
    present = await _read(client, declaration.name)
    if present is None:
        flow_id = await client.create_flow_from_name(declaration.name)
        made = await client.create_deployment(flow_id=flow_id, name=declaration.name, schedules=schedules, **wanted)
        if schedules and active:
            await plan_runs(client, made)
        return str(made)
    # Not created again: that would delete its schedules, with whatever was changed in the UI, and make new ones.
    changes = {key: value for key, value in wanted.items() if value != _in_force(present, key)}
    if changes:
        await client.update_deployment(present.id, DeploymentUpdate(**changes))
    changed = await set_schedules(client, present.id, declaration, present.schedules)
    if (changes or changed) and schedules and active:
        await plan_runs(client, present.id)
    return str(present.id)


def _in_force(deployment: DeploymentResponse, key: str) -> Any:
    if key == "concurrency_limit":
        return limit_of(deployment)
    return getattr(deployment, key)


def limit_of(deployment: DeploymentResponse) -> int | None:
    """How many of its runs may be under way at once; None when there is no limit, or it is switched off."""
    limit = deployment.global_concurrency_limit
    return limit.limit if limit and limit.active else None


async def _read(client: PrefectClient, workflow: str) -> DeploymentResponse | None:
    try:
        return await client.read_deployment_by_name(f"{workflow}/{workflow}")
    except ObjectNotFound:
        return None


def _description(declaration: Declaration, version: WorkflowVersion) -> str:
    """What Prefect's UI shows on the deployment's page (Markdown)."""
    lines = [declaration.description or declaration.name, ""]
    for trigger in declaration.triggers:
        if isinstance(trigger, Schedule):
            lines.append(f"- runs on a schedule: `{trigger.cron or f'every {trigger.every:g} s'}`")
        elif isinstance(trigger, Poll):
            lines.append(f"- polls `{trigger.uses}` every {trigger.every:g} s")
        elif isinstance(trigger, Failure):
            lines.append(f"- runs when an execution of `{', '.join(trigger.of)}` has failed")
        else:
            guard = f"verified by `{trigger.auth.scheme}`" if trigger.auth else "**not verified** (`auth: none`)"
            lines.append(f"- webhook: `{' '.join(trigger.methods)} /hooks/{trigger.path}`, {guard}")
    lines += ["", f"Defined in `{version.file}`, version `{version.version}`."]
    return "\n".join(lines)
