"""Senders that wait for an execution's end: woken by notices, and by a look at all of them when none came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from store_builders import accepted, running
from store_builders import finish as end

from flows.history import Execution, MemoryStore, Status, Topic
from foundation.errors import StorageUnavailable
from ipaas.gateway import waiting
from ipaas.gateway.waiting import Waiting


class Asked(MemoryStore):
    """Remembers which executions' ends were looked for, and does not answer when there is to be an outage."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_for: list[set[str]] = []
        self.outages = 0

    async def finished(self, execution_ids: Sequence[str]) -> Mapping[str, Execution]:
        self.looked_for.append(set(execution_ids))
        await asyncio.sleep(0)
        if self.outages:
            self.outages -= 1
            raise StorageUnavailable("away")
        return await super().finished(execution_ids)


@pytest.fixture(autouse=True)
def only_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is found by looking now and then, unless a test says so."""
    monkeypatch.setattr(waiting, "POLL_SECONDS", 3600)


@asynccontextmanager
async def answering(store: MemoryStore) -> AsyncIterator[Waiting]:
    under_test = Waiting(store)
    task = asyncio.create_task(under_test.run())
    await asyncio.sleep(0)
    try:
        yield under_test
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def waiters(under_test: Waiting, store: Asked, *execution_ids: str) -> list[asyncio.Task[Execution | None]]:
    """They wait, and it was seen that none of them has ended yet."""
    tasks = [asyncio.create_task(under_test.wait(one, 30)) for one in execution_ids]
    async with asyncio.timeout(10):
        while set().union(*store.looked_for) != set(execution_ids):
            await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    store.looked_for.clear()
    return tasks


async def ended(tasks: Sequence[asyncio.Task[Execution | None]]) -> list[Status | None]:
    async with asyncio.timeout(10):
        return [execution and execution.status for execution in await asyncio.gather(*tasks)]


async def test_a_notice_wakes_those_who_wait_for_it_with_one_query_for_all_of_them() -> None:
    store = Asked()
    execution_id, other = await running(store), await running(store, workflow="other")
    async with answering(store) as under_test:
        *both, another = await waiters(under_test, store, execution_id, execution_id, other)
        await end(store, execution_id, Status.SUCCEEDED)
        store.announce(Topic.ENDED, execution_id)

        assert await ended(both) == [Status.SUCCEEDED] * 2
        assert store.looked_for == [{execution_id}]
        another.cancel()


async def test_notices_that_come_together_cost_one_query() -> None:
    store = Asked()
    ids = [await running(store, workflow=f"w{n}") for n in range(20)]
    async with answering(store) as under_test:
        tasks = await waiters(under_test, store, *ids)
        for execution_id in ids:
            await end(store, execution_id, Status.SUCCEEDED)
            store.announce(Topic.ENDED, execution_id)

        assert await ended(tasks) == [Status.SUCCEEDED] * 20
        assert store.looked_for == [set(ids)]


async def test_a_notice_of_what_nobody_here_waits_for_costs_no_query() -> None:
    store = Asked()
    execution_id = await running(store)
    async with answering(store) as under_test:
        [task] = await waiters(under_test, store, execution_id)
        store.announce(Topic.ENDED, "somebody else's")
        await asyncio.sleep(0.01)
        assert store.looked_for == []

        await end(store, execution_id, Status.SUCCEEDED)
        store.announce(Topic.ENDED, execution_id)
        await ended([task])
        assert store.looked_for == [{execution_id}]


async def test_what_ended_before_anybody_waited_for_it_is_answered() -> None:
    store = Asked()
    execution_id = await running(store)
    await end(store, execution_id, Status.FAILED)
    async with answering(store) as under_test:
        store.announce(Topic.ENDED, execution_id)
        await asyncio.sleep(0.01)

        assert await ended([asyncio.create_task(under_test.wait(execution_id, 30))]) == [Status.FAILED]


async def test_when_notices_may_have_been_missed_all_are_looked_at() -> None:
    store = Asked()
    one, other = await running(store), await running(store, workflow="other")
    async with answering(store) as under_test:
        tasks = await waiters(under_test, store, one, other)
        for execution_id in (one, other):
            await end(store, execution_id, Status.SUCCEEDED)
        store.announce(Topic.ENDED)

        assert await ended(tasks) == [Status.SUCCEEDED] * 2
        assert store.looked_for == [{one, other}]


async def test_an_end_that_no_notice_came_of_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.01)
    store = Asked()
    execution_id = await running(store)
    async with answering(store) as under_test:
        task = asyncio.create_task(under_test.wait(execution_id, 30))
        await end(store, execution_id, Status.SUCCEEDED)

        assert await ended([task]) == [Status.SUCCEEDED]


async def test_a_history_that_is_away_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "OUTAGE_SECONDS", 0.001)
    store = Asked()
    execution_id = await running(store)
    async with answering(store) as under_test:
        [task] = await waiters(under_test, store, execution_id)
        await end(store, execution_id, Status.SUCCEEDED)
        store.outages = 2
        store.announce(Topic.ENDED, execution_id)

        assert await ended([task]) == [Status.SUCCEEDED]
    assert caplog.text.count("could not look for finished executions: away") == 2


async def test_who_waits_for_nothing_any_more_costs_no_query() -> None:
    store = Asked()
    execution_id = await accepted(store)
    async with answering(store) as under_test:
        [task] = await waiters(under_test, store, execution_id)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        store.announce(Topic.ENDED, execution_id)
        store.announce(Topic.ENDED)
        await asyncio.sleep(0.01)

        assert store.looked_for == []
