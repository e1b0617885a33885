"""Leases and holds against what only a database can do: make a write wait for a lock while its time runs out."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from store_builders import a_step, accepted, begin, begun, get, hold_of, running

from flows.history import Execution, Hold, Refusal, Status
from flows.history.sql import SqlStore
from foundation.clock import ManualClock

LEASE = 0.2  # seconds


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[SqlStore]:
    store = SqlStore(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def postgres_store(postgres_history: str) -> AsyncIterator[SqlStore]:
    async with opened(postgres_history) as store:
        yield store


@pytest.fixture
async def administrator(postgres_history: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres_history)
    yield connection
    await connection.close()


async def until_it_waits(call: asyncio.Future[Any], administrator: asyncpg.Connection) -> None:
    """For a lock that the administrator holds."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not await administrator.fetchval(waiting):
        assert not call.done(), "it did not wait"
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("lock", ["LOCK TABLE executions", "SELECT 1 FROM executions FOR UPDATE"])
async def test_a_lease_counts_from_when_it_was_written(
    postgres_store: SqlStore, administrator: asyncpg.Connection, lock: str
) -> None:
    """Were it counted from when the renewal was asked for, it would be over before the renewal is answered."""
    hold = await hold_of(postgres_store, await running(postgres_store))
    async with administrator.transaction():
        await administrator.execute(lock)
        renewal = asyncio.create_task(postgres_store.renew([hold], lease=LEASE))
        await until_it_waits(renewal, administrator)
        await administrator.execute(f"SELECT pg_sleep({2 * LEASE})")
        released = await administrator.fetchval("SELECT clock_timestamp()")

    assert await renewal == {hold.execution_id: None}
    lease_until = (await get(postgres_store, hold.execution_id)).lease_until
    assert lease_until is not None
    assert lease_until >= released + timedelta(seconds=LEASE)


async def test_a_lease_that_ran_out_while_somebody_waited_is_over(
    postgres_store: SqlStore, administrator: asyncpg.Connection
) -> None:
    execution_id = await running(postgres_store, owner="host/1", lease=LEASE)
    async with administrator.transaction():
        await administrator.execute("SELECT 1 FROM executions FOR UPDATE")
        beginning = asyncio.create_task(begin(postgres_store, execution_id, owner="host/2"))
        await until_it_waits(beginning, administrator)
        await administrator.execute(f"SELECT pg_sleep({2 * LEASE})")

    execution = await beginning
    assert isinstance(execution, Execution)
    assert execution.owner == "host/2"


async def test_a_sqlite_lease_counts_from_when_the_file_was_free(sqlite_history: str) -> None:
    async with opened(sqlite_history) as store:
        hold = await hold_of(store, await running(store))
        with closing(sqlite3.connect(sqlite_history.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            renewal = asyncio.create_task(store.renew([hold], lease=LEASE))
            await asyncio.sleep(2 * LEASE)
            released = datetime.now(UTC)
        await renewal
        lease_until = (await get(store, hold.execution_id)).lease_until

    assert lease_until is not None
    assert lease_until >= released + timedelta(seconds=LEASE)


async def test_on_postgresql_a_process_whose_clock_is_wrong_takes_nothing_over(postgres_history: str) -> None:
    async with opened(postgres_history) as sound:
        execution_id = await running(sound, owner="sound/1", lease=60)
        in_ten_years = ManualClock(datetime(2036, 1, 1, tzinfo=UTC))
        wrong = SqlStore(postgres_history, in_ten_years)

        assert await wrong.expired() == []
        assert await begin(wrong, execution_id, owner="wrong/1") is Refusal.HELD
        hold = (await begun(wrong, await accepted(wrong), owner="wrong/1", lease=0)).hold
        execution = await begun(sound, hold.execution_id, owner="sound/1")
        await wrong.close()

    assert execution.begun_at is not None
    assert execution.begun_at < in_ten_years.now()


async def test_a_save_that_waits_for_a_take_over_writes_nothing(
    postgres_store: SqlStore, administrator: asyncpg.Connection
) -> None:
    hold = await hold_of(postgres_store, await running(postgres_store))
    async with administrator.transaction():
        await administrator.execute("UPDATE executions SET owner = 'other/2', runs = runs + 1")
        save = asyncio.create_task(postgres_store.save_steps(hold, [a_step()]))
        await until_it_waits(save, administrator)

    assert await save is False
    assert (await get(postgres_store, hold.execution_id)).steps == ()


async def test_in_one_batch_only_the_stale_writes_are_refused(
    postgres_store: SqlStore, administrator: asyncpg.Connection
) -> None:
    """Three saves share a commit; while it waits for the rows, one of their executions is taken over."""
    holds = [await hold_of(postgres_store, await running(postgres_store)) for _ in range(3)]
    async with administrator.transaction():
        await administrator.execute(
            "UPDATE executions SET owner = 'other/2', runs = runs + 1 WHERE id = $1", holds[1].execution_id
        )
        saves = asyncio.gather(*(postgres_store.save_steps(hold, [a_step()]) for hold in holds))
        await until_it_waits(saves, administrator)

    assert await saves == [True, False, True]
    steps = [len((await get(postgres_store, hold.execution_id)).steps) for hold in holds]
    assert steps == [1, 0, 1]


async def test_whoever_takes_over_sees_every_step_that_was_saved_before(history_url: str) -> None:
    """Two processes wrest an execution from each other, again and again, saving steps as fast as they can."""
    async with opened(history_url) as one, opened(history_url) as other:
        execution_id = await accepted(one)
        saved: set[str] = set()

        async def wrest(store: SqlStore, owner: str) -> None:
            for _ in range(15):
                execution = await begun(store, execution_id, owner=owner, lease=0)
                seen = {step.path for step in execution.steps}
                assert seen >= saved, "a step was saved, and the next run does not see it"
                await save_until_it_is_lost(store, execution.hold)

        async def save_until_it_is_lost(store: SqlStore, hold: Hold) -> None:
            for number in range(5):
                path = f"{hold.owner}-{hold.run}-{number}"
                if not await store.save_steps(hold, [a_step(path)]):
                    return
                saved.add(path)

        await asyncio.gather(wrest(one, "one/1"), wrest(other, "other/2"))
        final = await get(one, execution_id)

    assert {step.path for step in final.steps} == saved
    assert final.runs == 30


async def test_of_an_end_and_a_take_over_at_once_one_happens(history_url: str) -> None:
    async with opened(history_url) as one, opened(history_url) as other:
        for _ in range(20):
            execution_id = await running(one, lease=0)
            hold = await hold_of(one, execution_id)

            ended, taken = await asyncio.gather(
                one.finish(hold, Status.SUCCEEDED), begin(other, execution_id, owner="other/2")
            )

            expected: Any = Refusal.ENDED if ended else (await get(one, execution_id)).hold
            assert (taken.hold if isinstance(taken, Execution) else taken) == expected
            if isinstance(taken, Execution):
                await other.finish(taken.hold, Status.SUCCEEDED)
