"""PostgreSQL databases for tests. `IPAAS_TEST_POSTGRES_URL` names the server; a local one by default."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from uuid import uuid4

import asyncpg
import pytest

_SERVER = os.environ.get("IPAAS_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


def run_sql(url: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The URL of a server that answers. Without one: skipped, but failed where CI=true."""
    try:
        run_sql(_SERVER, "SELECT 1")
    except (OSError, asyncpg.PostgresError) as error:
        complain = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        complain(f"no PostgreSQL at {_SERVER.rpartition('@')[2]} (set IPAAS_TEST_POSTGRES_URL): {error}")
    return _SERVER


def _database(server: str) -> Iterator[str]:
    name = f"ipaas_test_{uuid4().hex}"
    run_sql(server, f"CREATE DATABASE {name}")
    yield f"{server.rpartition('/')[0]}/{name}"
    run_sql(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    yield from _database(postgres_server)


@pytest.fixture(scope="session")
def shared_postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a database for many tests, for those who clear it themselves."""
    yield from _database(postgres_server)
