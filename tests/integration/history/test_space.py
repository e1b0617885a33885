"""What the history takes of the disk: large documents once, and nothing for what is pruned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Table, func, select
from store_builders import DAY, T0, an_execution, ended

from flows.history import Limits, Status, migrations
from flows.history.database import database_url, single_transaction
from flows.history.models import payload_uses, payloads
from flows.history.sql import SqlStore
from foundation.clock import ManualClock
from ipaas.platform.retention import prune


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T0)


@pytest.fixture
async def store(history_url: str, clock: ManualClock) -> AsyncIterator[SqlStore]:
    store = SqlStore(history_url, clock, Limits(inline_bytes=100), database_clock=clock)
    await store.open()
    yield store
    await store.close()


async def count(url: str) -> tuple[int, int]:
    """Large documents, and uses of them."""

    def rows(connection: Connection, table: Table) -> int:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()

    return await single_transaction(
        database_url(url), lambda connection: (rows(connection, payloads), rows(connection, payload_uses)), writes=False
    )


async def test_equal_large_documents_are_stored_once(store: SqlStore, history_url: str) -> None:
    large = {"body": "x" * 100}

    await store.accept([an_execution(event=large) for _ in range(3)] + [an_execution(event="small")])

    assert await count(history_url) == (1, 3)


async def test_what_is_not_stored_leaves_no_large_document(store: SqlStore, history_url: str) -> None:
    await store.accept([an_execution(dedupe_keys=["k"])])

    await store.accept([an_execution(dedupe_keys=["k"], event={"body": "x" * 100})])

    assert await count(history_url) == (0, 0)


async def test_large_documents_go_with_the_last_execution_that_has_them(
    store: SqlStore, history_url: str, clock: ManualClock
) -> None:
    await ended(store, event={"body": "x" * 100})
    await ended(store, event={"body": "y" * 100})
    clock.move(days=1)
    await ended(store, event={"body": "x" * 100})

    await store.prune(before=T0 + DAY, limit=10)
    some = await count(history_url)
    await store.prune(before=T0 + 2 * DAY, limit=10)

    assert (some, await count(history_url)) == ((1, 1), (0, 0))


async def test_a_large_document_that_comes_while_it_is_pruned_is_kept(history_url: str, clock: ManualClock) -> None:
    """Two processes, again and again: one deletes the last execution that has the document, one stores the next."""
    limits = Limits(inline_bytes=100)
    gateway, pruner = (SqlStore(history_url, clock, limits, database_clock=clock) for _ in range(2))
    large = {"body": "x" * 100}
    await ended(gateway, event=large)
    for _ in range(30):
        new = an_execution(event=large)
        await asyncio.gather(gateway.accept([new]), pruner.prune(before=T0 + DAY, limit=10))
        execution = await gateway.execution(new.id)
        assert execution is not None
        assert execution.event == large
        assert await gateway.finish(execution.hold, Status.SUCCEEDED)
    await gateway.close()
    await pruner.close()


async def test_a_file_shrinks_when_executions_are_pruned(tmp_path: Path) -> None:
    file = tmp_path / "history.db"
    await migrations.upgrade(f"sqlite:///{file}")
    clock = ManualClock(T0)
    store = SqlStore(f"sqlite:///{file}", clock)
    for number in range(20):
        await ended(store, event={"body": f"{number}" * 500_000})
    await store.close()
    clock.move(days=1)
    full = file.stat().st_size

    assert await prune(store, clock, older_than=3_600) == 20
    await store.close()

    assert full > 10_000_000
    assert file.stat().st_size < 500_000
