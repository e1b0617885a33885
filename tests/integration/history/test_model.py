"""Whatever callers do, in whatever order, the history in a database is what a simple model says."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import asyncpg
from history_model import HistoryMachine
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from flows.history import HistoryStore
from flows.history.models import metadata
from flows.history.sql import SqlStore

SETTINGS = settings(
    max_examples=15,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def run(fresh: Callable[[], HistoryStore]) -> None:
    run_state_machine_as_test(lambda: HistoryMachine(fresh), settings=SETTINGS)


def test_a_history_in_sqlite_is_what_the_model_says(migrated_file: Path, tmp_path: Path) -> None:
    def fresh() -> HistoryStore:
        file = tmp_path / f"{uuid4()}.db"
        shutil.copy(migrated_file, file)
        return SqlStore(f"sqlite:///{file}")

    run(fresh)


def test_a_history_in_postgresql_is_what_the_model_says(migrated_postgres: str) -> None:
    async def empty() -> None:
        connection = await asyncpg.connect(migrated_postgres)
        await connection.execute("TRUNCATE " + ", ".join(metadata.tables))
        await connection.close()

    def fresh() -> HistoryStore:
        asyncio.run(empty())
        return SqlStore(migrated_postgres)

    run(fresh)
