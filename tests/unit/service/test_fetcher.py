"""What a worker does with runs that are not due yet."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from prefect.client.schemas.objects import FlowRun

from flows.history import MemoryStore
from ipaas.worker.deployments import Deployments
from ipaas.worker.fetching import Fetcher
from ipaas.worker.lane import Lanes
from ipaas.worker.missed import MissedTimes


async def test_one_that_is_found_many_times_before_its_time_pokes_once_when_it_comes() -> None:
    client: Any = None  # nothing is asked of Prefect
    store, lanes, pokes = MemoryStore(), Lanes(), list[datetime]()
    deployments = Deployments(client, store)
    missed = MissedTimes(client, store, deployments)

    def poke() -> None:
        pokes.append(datetime.now(UTC))

    fetcher = Fetcher(client, lanes, deployments, missed, pool="ipaas", poke=poke)
    due = datetime.now(UTC) + timedelta(milliseconds=200)
    run = FlowRun(flow_id=uuid4(), deployment_id=uuid4(), next_scheduled_start_time=due)

    for _ in range(50):
        await fetcher.add(run)
    assert not lanes.has(run)
    async with asyncio.timeout(10):
        while not pokes:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)

    assert len(pokes) == 1
    await fetcher.add(run)
    assert lanes.has(run)
