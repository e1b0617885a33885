"""The histories in SQLite and PostgreSQL keep the contract of every history."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from store_suite import StoreSuite

from flows.history.sql import SqlStore
from foundation.clock import ManualClock


async def opened(url: str, clock: ManualClock) -> AsyncIterator[SqlStore]:
    store = SqlStore(url, clock, database_clock=clock)
    await store.open()
    yield store
    await store.close()


class TestSqlite(StoreSuite):
    @pytest.fixture
    async def store(self, sqlite_history: str, clock: ManualClock) -> AsyncIterator[SqlStore]:
        async for store in opened(sqlite_history, clock):
            yield store


class TestPostgres(StoreSuite):
    @pytest.fixture
    async def store(self, postgres_history: str, clock: ManualClock) -> AsyncIterator[SqlStore]:
        async for store in opened(postgres_history, clock):
            yield store
