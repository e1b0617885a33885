"""What a running Prefect server holds of a workflow: a deployment, and its flow runs."""

from __future__ import annotations

from uuid import UUID, uuid4

from prefect import State
from prefect.client.orchestration import PrefectClient


async def a_deployment(prefect: PrefectClient) -> str:
    flow_id = await prefect.create_flow_from_name("orders")
    return str(await prefect.create_deployment(flow_id=flow_id, name=f"orders-{uuid4().hex}"))


async def a_flow_run(prefect: PrefectClient, state: State | None = None) -> str:
    """One of a deployment of its own; scheduled, or else in `state`."""
    run = await prefect.create_flow_run_from_deployment(UUID(await a_deployment(prefect)))
    if state is not None:
        await prefect.set_flow_run_state(run.id, state, force=True)
    return str(run.id)
