"""SQLite by threads: whole transactions, also of callers that gave up, and none left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from store_builders import an_execution

from flows.history import Status
from flows.history.database import Database, connect, database_url, transaction
from flows.history.sql import SqlStore
from foundation.errors import StorageUnavailable


@pytest.fixture
async def writer(sqlite_history: str) -> AsyncIterator[Database]:
    database = connect(database_url(sqlite_history), connections=1, writes=True)
    yield database
    await database.close()


class Slow:
    """Writes an event, and ends when it is let."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self, connection: Connection) -> None:
        write_event(connection)
        self.begun.set()
        assert self.may_end.wait(30)


def write_event(connection: Connection) -> None:
    connection.execute(text("INSERT INTO events (id, document) VALUES ('1', 'null')"))


def count_events(connection: Connection) -> int:
    return connection.execute(text("SELECT count(*) FROM events")).scalar_one()


async def test_the_event_loop_goes_on_during_a_transaction(writer: Database) -> None:
    slow = Slow()
    writing = asyncio.create_task(transaction(writer, slow))
    while not slow.begun.is_set():
        await asyncio.sleep(0.001)
    slow.may_end.set()
    await writing

    assert await transaction(writer, count_events) == 1


async def test_a_transaction_that_has_begun_is_ended_though_its_caller_gave_up(writer: Database) -> None:
    slow = Slow()
    writing = asyncio.create_task(transaction(writer, slow))
    await asyncio.to_thread(slow.begun.wait)
    writing.cancel()
    next_one = asyncio.create_task(transaction(writer, count_events))
    slow.may_end.set()

    assert await next_one == 1
    assert writing.cancelled()


async def test_a_transaction_that_fails_writes_nothing_and_leaves_the_connection_usable(writer: Database) -> None:
    def fail(connection: Connection) -> None:
        write_event(connection)
        raise ValueError("not this one")

    with pytest.raises(ValueError, match="not this one"):
        await transaction(writer, fail)

    assert await transaction(writer, count_events) == 0


async def test_closing_waits_for_what_has_begun_and_leaves_no_thread(sqlite_history: str) -> None:
    before = set(threading.enumerate())
    database = connect(database_url(sqlite_history), connections=1, writes=True)
    slow = Slow()
    writing = asyncio.create_task(transaction(database, slow))
    await asyncio.to_thread(slow.begun.wait)
    closing = asyncio.create_task(database.close())
    await asyncio.sleep(0.01)
    assert not closing.done()
    slow.may_end.set()
    await asyncio.gather(closing, writing)

    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("history")]
    assert not Path(f"{sqlite_history.removeprefix('sqlite:///')}-wal").exists()
    assert await transaction(database, count_events) == 1  # whoever goes on gets new ones
    await database.close()


async def test_a_damaged_file_is_unavailable_and_said_to_be_damaged(sqlite_history: str) -> None:
    file = Path(sqlite_history.removeprefix("sqlite:///"))
    store = SqlStore(sqlite_history)
    await store.open()
    await store.close()
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))

    with pytest.raises(StorageUnavailable, match="malformed"):
        await store.accept([an_execution()])
    with pytest.raises(StorageUnavailable, match="malformed"):
        await store.counts()

    await store.close()
    file.write_bytes(whole)
    await store.accept([an_execution()])
    assert await store.counts() == {Status.ACCEPTED: 1}
    await store.close()
