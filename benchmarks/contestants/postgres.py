"""PostgreSQL databases for contestants. `IPAAS_TEST_POSTGRES_URL` names the server; a local one by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg  # type: ignore[import-untyped]  # it ships no types

from benchmarks.contestants.contestant import Unavailable
from tests.postgres import SERVER, new_database, run_sql


@contextmanager
def database() -> Iterator[str]:
    """The URL of an empty database, dropped afterwards. Raises Unavailable."""
    try:
        run_sql(SERVER, "SELECT 1")
    except (OSError, asyncpg.PostgresError) as error:
        raise Unavailable(f"no PostgreSQL at {SERVER.rpartition('@')[2]}: {error}") from error
    with new_database(SERVER) as url:
        yield url
