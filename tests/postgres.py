"""PostgreSQL databases for tests. `IPAAS_TEST_POSTGRES_URL` names the server; a local one by default."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]
import pytest

SERVER = os.environ.get("IPAAS_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


def run_sql(url: str, statement: str) -> list[Any]:
    """The rows that it gives."""

    async def run() -> list[Any]:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    return asyncio.run(run())


def answering_server() -> str:
    """The URL of a server that answers. Without one: skips, but fails where CI=true."""
    try:
        run_sql(SERVER, "SELECT 1")
    except (OSError, asyncpg.PostgresError) as error:
        complain = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        complain(f"no PostgreSQL at {SERVER.rpartition('@')[2]} (set IPAAS_TEST_POSTGRES_URL): {error}")
    return SERVER


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """The URL of an empty database, dropped afterwards."""
    name = f"ipaas_test_{uuid4().hex}"
    run_sql(server, f"CREATE DATABASE {name}")
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        run_sql(server, f"DROP DATABASE {name} WITH (FORCE)")
