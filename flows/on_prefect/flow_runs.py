"""Reading flow runs from Prefect in batches. What can't be read alone does not hide the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort

from flows.on_prefect.deployment import WORK_POOL
from flows.on_prefect.run import EXECUTION_LABEL, label

PAGE = 200
"""How many things Prefect gives at once (`PREFECT_API_DEFAULT_LIMIT`)."""
UNDER_WAY = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]

T = TypeVar("T")


class Unreadable(Exception):
    """Prefect can't show this run: its server answers for it, and for every list it is in, with an error."""


async def read_flow_runs(client: PrefectClient, ids: Iterable[str]) -> dict[str, FlowRun | Unreadable]:
    """Those of them that Prefect has."""
    found: dict[str, FlowRun | Unreadable] = {}
    for batch in _batches(list(dict.fromkeys(ids))):
        found |= await _read(client, batch)
    return found


async def _read(client: PrefectClient, ids: Sequence[str]) -> dict[str, FlowRun | Unreadable]:
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(one) for one in ids]))
    try:
        return {str(run.id): run for run in await client.read_flow_runs(flow_run_filter=wanted, limit=PAGE)}
    except httpx.HTTPStatusError as error:
        if error.response.status_code != 500:
            raise
    if len(ids) == 1:
        return {ids[0]: Unreadable(f"Prefect can't show flow run {ids[0]}")}
    middle = len(ids) // 2
    return await _read(client, ids[:middle]) | await _read(client, ids[middle:])


async def runs_under_way(client: PrefectClient) -> list[FlowRun]:
    """Our runs that Prefect takes for pending, running or being cancelled, also such whose work pool was deleted."""
    found: list[FlowRun] = []
    offset, page = 0, PAGE
    while True:
        try:
            runs = await _under_way(client, offset, page)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 500:
                raise
            if page == 1:
                offset += 1  # it can't be shown
            page = max(page // 2, 1)
            continue
        found += [run for run in runs if run.work_pool_name == WORK_POOL or label(run, EXECUTION_LABEL)]
        if len(runs) < page:
            return found
        offset, page = offset + len(runs), PAGE


async def _under_way(client: PrefectClient, offset: int, limit: int) -> list[FlowRun]:
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNDER_WAY)))
    return await client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.ID_DESC, limit=limit, offset=offset)


async def existing_deployments(client: PrefectClient, ids: Iterable[UUID]) -> set[UUID]:
    """Those of these deployments that exist."""
    found: set[UUID] = set()
    for batch in _batches(list(dict.fromkeys(ids))):
        wanted = DeploymentFilter(id=DeploymentFilterId(any_=list(batch)))
        found |= {one.id for one in await client.read_deployments(deployment_filter=wanted, limit=PAGE)}
    return found


def _batches(things: Sequence[T]) -> Iterator[Sequence[T]]:
    return (things[start : start + PAGE] for start in range(0, len(things), PAGE))
