"""Which runs a worker fetches from a real Prefect: what is hidden, and what was missed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from on_prefect import Deployed, deployed
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, StateType

from flows.history import MemoryStore
from flows.on_prefect.deployment import WORK_POOL
from ipaas.worker import missed as missed_times
from ipaas.worker.deployments import Deployments
from ipaas.worker.fetching import Fetcher
from ipaas.worker.lane import Lanes
from ipaas.worker.missed import MissedTimes

STEPS = "steps: [{id: note, uses: log.message, with: {text: hello}}]"


@pytest.fixture
async def client(prefect: PrefectClient) -> AsyncIterator[PrefectClient]:
    yield prefect
    for deployment in await prefect.read_deployments():
        await prefect.delete_deployment(deployment.id)


async def fetcher_of(client: PrefectClient, store: MemoryStore, lanes: Lanes) -> Fetcher:
    deployments = Deployments(client, store)
    await deployments.look()
    missed = MissedTimes(client, store, deployments)
    return Fetcher(client, lanes, deployments, missed, pool=WORK_POOL, poke=lambda: None)


async def fetched(one: Deployed) -> list[UUID]:
    """What a worker that was just started would run of it."""
    lanes = Lanes()
    fetcher = await fetcher_of(one.client, one.store, lanes)
    await fetcher.fetch()
    await fetcher._missed.settled()
    return list(lanes[one.id].waiting)


async def ticks(one: Deployed, minutes: float) -> list[FlowRun]:
    """The schedule's runs since so long ago, which nobody ran: as when the platform was down. Oldest first."""
    start = datetime.now(UTC) - timedelta(minutes=minutes)
    span = {"start_time": start.isoformat(), "end_time": datetime.now(UTC).isoformat(), "max_runs": 1000}
    await one.client.request(
        "POST",
        "/deployments/{id}/schedule",  # type: ignore[arg-type]
        path_params={"id": one.id},
        json=span | {"min_runs": 1000},
    )
    runs = await one.client.get_scheduled_flow_runs_for_deployments([one.id], scheduled_before=datetime.now(UTC))
    assert all(run.auto_scheduled for run in runs)
    return runs


async def states(one: Deployed, runs: list[FlowRun]) -> list[StateType | None]:
    return [await one.state(run) for run in runs]


@pytest.mark.parametrize(
    ("missed", "run"), [("once", slice(-1, None)), ("all", slice(None)), ("skip", slice(-1, None))]
)
async def test_what_a_schedule_missed_in_ten_minutes(client: PrefectClient, missed: str, run: slice) -> None:
    one = await deployed(client, f"triggers: [{{schedule: {{every: 1m, missed: {missed}}}}}]\n{STEPS}")
    due = await ticks(one, minutes=10)
    assert len(due) >= 10

    assert await fetched(one) == [tick.id for tick in due[run]]
    cancelled = [tick for tick, state in zip(due, await states(one, due), strict=True) if state is StateType.CANCELLED]
    assert cancelled == [tick for tick in due if tick not in due[run]]
    if cancelled:
        state = (await one.now(cancelled[0])).state
        assert state is not None
        assert (state.message or "").startswith("missed tick")
    assert (await one.store.executions()).items == [], "a time that was missed makes no execution"


async def test_the_newest_runs_when_more_were_missed_than_prefect_shows_at_once(
    client: PrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await deployed(client, f"triggers: [{{schedule: {{every: 1m}}}}]\n{STEPS}")
    due = await ticks(one, minutes=10)
    monkeypatch.setattr(missed_times, "PAGE", 3)
    fetcher = await fetcher_of(client, one.store, lanes := Lanes())

    await fetcher._add(due[:3])
    await fetcher._missed.settled()

    assert list(lanes[one.id].waiting) == []
    assert await states(one, due[:3]) == [StateType.CANCELLED] * 3
    assert await one.state(due[-1]) is StateType.SCHEDULED


async def test_what_waits_here_already_was_not_missed(client: PrefectClient) -> None:
    """It was fetched in time, and the worker had no room."""
    one = await deployed(client, f"triggers: [{{schedule: {{every: 1m}}}}]\n{STEPS}")
    due = await ticks(one, minutes=3)
    fetcher = await fetcher_of(client, one.store, lanes := Lanes())
    for run in due[:-1]:
        lanes[one.id].add(run)

    await fetcher.fetch()

    assert set(lanes[one.id].waiting) == {run.id for run in due}


async def test_runs_that_people_started_are_not_missed_times(client: PrefectClient) -> None:
    one = await deployed(client, f"triggers: [{{schedule: {{every: 1h}}}}]\n{STEPS}")
    runs = await one.create_all([{}, {}, {}])

    assert set(await fetched(one)) == {run.id for run in runs}


async def test_one_workflows_long_queue_does_not_hide_another(client: PrefectClient) -> None:
    """After a restart: the worker knows neither of them."""
    store = MemoryStore()
    long, short = await deployed(client, store=store), await deployed(client, store=store)
    for _ in range(3):
        await long.create_all([{}] * 100)
    [run] = await short.create_all([{}])
    lanes = Lanes()

    await (await fetcher_of(client, store, lanes)).fetch()

    assert list(lanes[short.id].waiting) == [run.id]


async def test_a_run_whose_queue_was_deleted_is_fetched_all_the_same(client: PrefectClient) -> None:
    one = await deployed(client)
    run = await one.create()
    await client.delete_work_pool(WORK_POOL)
    fetcher = await fetcher_of(client, one.store, lanes := Lanes())

    await fetcher.fetch()
    by_its_queue: list[Any] = list(lanes[one.id].waiting)
    await fetcher.fetch_unqueued()

    assert (by_its_queue, list(lanes[one.id].waiting)) == ([], [run.id])
