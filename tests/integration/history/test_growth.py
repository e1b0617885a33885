"""The n-th execution costs what the first did: in a history that is ten times as long, no call does more work.

Work is counted, not timed: SQLite's in instructions of its virtual machine, PostgreSQL's in rows and index entries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from every_call import EVERY_CALL, make_present
from sqlalchemy import Connection, event

from benchmarks.filling import fill
from flows.history import HistoryStore
from flows.history.sql import SqlStore

SHORT, LONG = 300, 3_000
"""Executions."""
EVERY = 10  # instructions
MAY_GROW = {
    "counts": "counts every execution: for a person who asks (`ipaas db check`)",
    "prune_versions": "reads through a workflow's executions for each version that it deletes",
}


NO_STATEMENTS = {"open", "close", "ping", "written", "announce", "listening"}
"""What asks the database for nothing that it keeps."""


class Work:
    """Counts what a store's databases do."""

    def __init__(self, store: SqlStore) -> None:
        self.done = 0
        self._engines = [database.engine for database in (store._reader, store._writer)]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        for engine in self._engines:
            event.listen(engine, "begin", self._begin)
            event.listen(engine, "commit", self._commit)
        yield
        for engine in self._engines:
            event.remove(engine, "begin", self._begin)
            event.remove(engine, "commit", self._commit)

    def _begin(self, connection: Connection) -> None:
        if connection.dialect.name == "sqlite":
            self._watch(connection, self._tick)
        else:
            self.done -= connection.exec_driver_sql(_ROWS).scalar_one()

    def _commit(self, connection: Connection) -> None:
        if connection.dialect.name == "sqlite":
            self._watch(connection, None)
        else:
            self.done += connection.exec_driver_sql(_ROWS).scalar_one()

    def _watch(self, connection: Connection, tick: Any) -> None:
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(tick, EVERY)

    def _tick(self) -> int:
        self.done += EVERY
        return 0


_ROWS = """
SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_fetched(oid)), 0)::bigint
FROM pg_class WHERE relnamespace = 'public'::regnamespace
"""
"""Of this connection lately, since when it last told the server: that is between transactions.
https://www.postgresql.org/docs/current/monitoring-stats.html"""


@pytest.fixture
async def store(history_url: str) -> AsyncIterator[SqlStore]:
    store = SqlStore(history_url)
    await store.open()
    await make_present(store)
    yield store
    await store.close()


async def work(store: SqlStore) -> Mapping[str, int]:
    """What each call does."""
    done = {}
    for name, case in EVERY_CALL.items():
        counted = Work(store)
        await case(store, counted)
        done[name] = counted.done
    return done


async def test_a_long_history_makes_no_more_work(store: SqlStore, history_url: str) -> None:
    await fill(history_url, SHORT, workflows=3)
    await work(store)  # after that there is as much to do each time
    in_short = await work(store)
    await fill(history_url, LONG - SHORT, first=SHORT, workflows=3)
    in_long = await work(store)

    grew = {name: (in_short[name], done) for name, done in in_long.items() if done > 1.5 * in_short[name] + 200}

    assert {name: work for name, work in grew.items() if name not in MAY_GROW} == {}


def test_every_call_is_looked_at() -> None:
    methods = {name for name in dir(HistoryStore) if not name.startswith("_")}

    assert {name.partition(":")[0] for name in EVERY_CALL} == methods - NO_STATEMENTS
