"""PostgreSQL, by asyncpg: its statements wait on the event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.ext.asyncio import create_async_engine

R = TypeVar("R")


class PostgresConnections:
    """A `Database`; a transaction whose caller is cancelled is rolled back."""

    def __init__(self, url: URL, *, connections: int, writes: bool, lock_wait: float) -> None:
        self._connections = create_async_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,  # errors must not show what events hold
            isolation_level="READ COMMITTED" if writes else "REPEATABLE READ",
            connect_args={
                "timeout": 10,
                "command_timeout": 60 + lock_wait,  # seconds; a network that swallows packets must not hang us
                "server_settings": {
                    "application_name": "ipaas",
                    "lock_timeout": str(round(lock_wait * 1000)),
                    # A plan that fits every status and workflow would read all of a large history for a rare one.
                    "plan_cache_mode": "auto" if writes else "force_custom_plan",
                },
            },
        )

    @property
    def engine(self) -> Engine:
        return self._connections.sync_engine

    async def transact(self, work: Callable[[Connection], R]) -> R:
        async with self._connections.begin() as connection:
            return await connection.run_sync(work)

    @asynccontextmanager
    async def driver(self) -> AsyncIterator[Any]:
        """One of asyncpg's own connections, for what SQLAlchemy has no word for."""
        async with self._connections.connect() as pooled:
            yield (await pooled.get_raw_connection()).driver_connection

    async def close(self) -> None:
        await self._connections.dispose()
