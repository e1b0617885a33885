"""A database that is gone, locked or full: said as such, and over by itself."""

from __future__ import annotations

import asyncio
import resource
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import asyncpg
import pytest
from store_builders import an_execution, finish, hold_of, running

from flows.history import Status, open_store
from flows.history.sql import SqlStore
from foundation.errors import StorageUnavailable


@contextmanager
def file_of(url: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


@pytest.fixture
async def postgres_store(postgres_history: str) -> AsyncIterator[SqlStore]:
    store = SqlStore(postgres_history)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def administrator(postgres_history: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres_history)
    yield connection
    await connection.close()


async def terminate(administrator: asyncpg.Connection, condition: str = "true") -> int:
    """Ends the stores' connections, as a restarting server does. How many there were."""
    return await administrator.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        f" WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
    )


async def test_idle_connections_that_broke_are_replaced(
    postgres_store: SqlStore, administrator: asyncpg.Connection
) -> None:
    execution_id = await running(postgres_store)
    await postgres_store.ping()
    assert await terminate(administrator) >= 2

    await finish(postgres_store, execution_id, Status.SUCCEEDED)
    await postgres_store.ping()


async def test_a_write_whose_connection_breaks_says_so_and_the_next_one_works(
    postgres_store: SqlStore, administrator: asyncpg.Connection
) -> None:
    hold = await hold_of(postgres_store, await running(postgres_store))
    async with administrator.transaction():
        await administrator.execute("SELECT 1 FROM executions FOR UPDATE")
        stuck = asyncio.create_task(postgres_store.finish(hold, Status.SUCCEEDED))
        while not await terminate(administrator, "wait_event_type = 'Lock'"):
            await asyncio.sleep(0.01)

    with pytest.raises(StorageUnavailable, match=r"terminat|closed"):
        await stuck
    assert await postgres_store.finish(hold, Status.SUCCEEDED)


async def test_a_server_that_does_not_answer_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        port = unused.getsockname()[1]

        with pytest.raises(StorageUnavailable, match=f"127.0.0.1:{port}/db is not usable") as refused:
            await open_store(f"postgresql://user:pass-word@127.0.0.1:{port}/db").open()

    assert refused.value.retriable
    assert "pass-word" not in str(refused.value)


async def test_a_locked_file_is_unavailable_until_it_is_free(sqlite_history: str) -> None:
    store = SqlStore(sqlite_history, lock_wait=0.05)
    await store.open()
    with file_of(sqlite_history) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="database is locked"):
            await store.accept([an_execution()])
        assert await store.counts() == {}  # reading goes on
        other.execute("ROLLBACK")

    assert [answer.duplicate for answer in await store.accept([an_execution()])] == [False]
    await store.close()


async def test_a_write_waits_for_another_process(sqlite_history: str) -> None:
    store = SqlStore(sqlite_history)
    await store.open()
    with file_of(sqlite_history) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(store.accept([an_execution(id="patient")]))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        other.execute("COMMIT")

    assert [answer.execution_id for answer in await waiting] == ["patient"]
    await store.close()


async def test_a_full_disk_is_unavailable_until_there_is_room(sqlite_history: str) -> None:
    store = SqlStore(sqlite_history)
    await store.open()
    await store.accept([an_execution(id="before")])
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = an_execution(id="big", event={"body": "x" * 1_000_000})

    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most))
    try:
        with pytest.raises(StorageUnavailable) as full:
            await store.accept([big])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    assert "xxx" not in str(full.value)
    assert await store.execution("big") is None
    await store.accept([big])
    assert await store.counts() == {Status.ACCEPTED: 2}
    await store.close()


async def test_an_error_shows_nothing_of_what_was_written(history_url: str) -> None:
    store = SqlStore(history_url)
    await store.open()

    with pytest.raises(Exception, match=r"(?i)null") as refused:
        await store.accept([an_execution(workflow=None, event={"body": "very-private"})])

    assert "very-private" not in str(refused.value)
    assert "very-private" not in repr(refused.value)
    await store.close()
