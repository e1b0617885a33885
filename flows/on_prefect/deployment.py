"""Deploying: a workflow version becomes a Prefect flow and deployment, and the history's current version."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from flows.history import HistoryStore, WorkflowVersion
from flows.language.definition import Declaration, Schedule
from flows.language.event import parameter_schema
from flows.on_prefect.loader import ENTRYPOINT

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
OVERFLOW = {"wait": ConcurrencyLimitStrategy.ENQUEUE, "cancel": ConcurrencyLimitStrategy.CANCEL_NEW}


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
    try:
        return str((await client.read_deployment_by_name(f"{workflow}/{workflow}")).id)
    except ObjectNotFound:
        return None


async def deploy_version(client: PrefectClient, store: HistoryStore, version: WorkflowVersion) -> str:
    """Makes the Prefect deployment of a version, then publishes it; the deployment's id.

    In this order, so that whatever breaks in between leaves the old version in force.
    """
    declaration = Declaration.model_validate(version.declaration)
    await ensure_work_pool(client)
    flow_id = await client.create_flow_from_name(declaration.name)
    known = await store.workflow(declaration.name)
    deployment_id = await client.create_deployment(
        flow_id=flow_id,
        name=declaration.name,
        version=version.version,
        description=_description(declaration, version),
        tags=list(declaration.tags),
        entrypoint=f"{ENTRYPOINT}{declaration.name}",
        work_pool_name=WORK_POOL,
        concurrency_limit=declaration.concurrency.limit,
        concurrency_options=ConcurrencyOptions(collision_strategy=OVERFLOW[declaration.concurrency.overflow]),
        schedules=[_schedule(trigger) for trigger in declaration.triggers if isinstance(trigger, Schedule)],
        parameter_openapi_schema=parameter_schema(dict(declaration.input) if declaration.input else None),
        enforce_parameter_schema=True,
        paused=known is not None and not known.active,
    )
    await store.publish(version)
    await store.set_deployment(declaration.name, str(deployment_id))
    return str(deployment_id)


def _schedule(trigger: Schedule) -> DeploymentScheduleCreate:
    schedule: Any
    if trigger.cron is not None:
        schedule = CronSchedule(cron=trigger.cron, timezone=trigger.timezone or "UTC")
    else:
        schedule = IntervalSchedule(interval=timedelta(seconds=trigger.every or 0))
    return DeploymentScheduleCreate(schedule=schedule, active=True)


def _description(declaration: Declaration, version: WorkflowVersion) -> str:
    """What Prefect's UI shows on the deployment's page (Markdown)."""
    lines = [declaration.description or declaration.name, ""]
    for trigger in declaration.triggers:
        if isinstance(trigger, Schedule):
            lines.append(f"- runs on a schedule: `{trigger.cron or f'every {trigger.every:g} s'}`")
        else:
            guard = f"verified by `{trigger.auth.scheme}`" if trigger.auth else "**not verified** (`auth: none`)"
            lines.append(f"- webhook: `{' '.join(trigger.methods)} /hooks/{trigger.path}`, {guard}")
    lines += ["", f"Defined in `{version.file}`, version `{version.version}`."]
    return "\n".join(lines)
