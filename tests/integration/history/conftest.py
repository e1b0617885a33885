"""Migrated databases. A migration is run once a session and copied (SQLite) or emptied (PostgreSQL) for each test."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from flows.history import migrations
from flows.history.models import metadata
from flows.history.sql import SqlStore


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("history") / "migrated.db"
    asyncio.run(migrations.upgrade(f"sqlite:///{file}"))
    return file


@pytest.fixture
def sqlite_history(migrated_file: Path, tmp_path: Path) -> str:
    shutil.copy(migrated_file, tmp_path / "history.db")
    return f"sqlite:///{tmp_path / 'history.db'}"


@pytest.fixture(scope="session")
def migrated_postgres(shared_postgres_url: str) -> str:
    asyncio.run(migrations.upgrade(shared_postgres_url))
    return shared_postgres_url


@pytest.fixture
async def postgres_history(migrated_postgres: str) -> str:
    connection = await asyncpg.connect(migrated_postgres)
    await connection.execute("TRUNCATE " + ", ".join(metadata.tables))
    await connection.close()
    return migrated_postgres


@pytest.fixture(params=["sqlite", "postgres"])
def history_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty history in each database."""
    url: str = request.getfixturevalue(f"{request.param}_history")
    return url


@pytest.fixture
async def stores(history_url: str) -> AsyncIterator[tuple[SqlStore, SqlStore]]:
    """Two processes' views of one history."""
    one, other = SqlStore(history_url), SqlStore(history_url)
    await one.open()
    await other.open()
    yield one, other
    await one.close()
    await other.close()
