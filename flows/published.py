"""Published workflows as Prefect flows, by name: `flows.published.NAME` is a deployment's entrypoint.

So a stock Prefect worker finds the flow by importing it. Our own worker asks `flows.on_prefect.loader`.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import prefect.runtime
from prefect import Flow
from prefect.client.orchestration import get_client

from flows.history import WorkflowVersion, open_store
from flows.on_prefect.compile import compile_version
from flows.on_prefect.run import VERSION_LABEL, WORKFLOW_LABEL, label
from foundation.settings import Settings


def __getattr__(name: str) -> Flow[..., Any]:
    """The published workflow `name`, read from the history that the environment names.

    In a process that a stock worker started for one flow run: the version which that run's execution is pinned to;
    elsewhere the current one.
    """
    if name.startswith("_"):
        raise AttributeError(name)
    with ThreadPoolExecutor(1) as thread:  # the caller may have an event loop of its own
        version = thread.submit(asyncio.run, _read(name)).result()
    if version is None:
        raise AttributeError(f"workflow {name} is not in the history: deploy it with `ipaas deploy`")
    return compile_version(version)


async def _read(name: str) -> WorkflowVersion | None:
    store = open_store(Settings().database)
    await store.open()
    try:
        pinned = await _pinned_version(name)
        if pinned and (version := await store.version(name, pinned)):
            return version
        workflow = await store.workflow(name)
        return workflow.current if workflow else None
    finally:
        await store.close()


async def _pinned_version(name: str) -> str | None:
    flow_run_id = prefect.runtime.flow_run.id
    if flow_run_id is None:
        return None
    async with get_client() as client:
        flow_run = await client.read_flow_run(UUID(flow_run_id))
    return label(flow_run, VERSION_LABEL) if label(flow_run, WORKFLOW_LABEL) == name else None
