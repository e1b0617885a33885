"""Every statement that the history sends finds its rows by an index, and sorts no more than a few of them.

How much it does then is counted in `test_growth`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from every_call import EVERY_CALL, keyed, make_present
from sqlalchemy import Connection, event
from store_builders import admitted, an_execution

from benchmarks.filling import fill
from flows.history.database import database_url, single_transaction
from flows.history.sql import SqlStore

Sent = list[tuple[str, Any]]

PAST = 10_000
WAITING = 100
GROWING = "executions|events|step_executions|deliveries|waits|payloads|payload_uses"
LARGE = (
    "INSERT INTO payloads (hash, document) SELECT id, id FROM executions",
    "INSERT INTO payload_uses (execution_id, hash) SELECT id, id FROM executions",
)
"""A large document of each."""
OPEN = {f"ix_executions_{name}" for name in ("waiting", "slots", "to_dispatch", "unrecorded")} | {
    f"ix_waits_{name}" for name in ("due", "open", "at_address")
}
"""Indexes that have nothing of the past: all of one may be read."""
READS_ALL = {
    "counts": "counts every execution: for a person who asks (`ipaas db check`)",
    "executions": "reads in the order of the ids until the page is full",
    "prune_versions": "reads through a workflow's executions for each version that it deletes",
}
_STEPS = "the steps of one execution"
SORTS = {
    "workflows": "workflows",
    "versions": "the versions of a workflow",
    "prune_versions": "the versions of workflows; on PostgreSQL what ran on one that may go",
    "admit": "lanes that are due, and what has a slot",
    "begin": _STEPS,
    "begin: by its key": "lanes that are due, and what has a slot",
    "renew": "the executions of one worker",
    "finish: a failure that starts another workflow": _STEPS,
    "finish: of one that nobody runs": _STEPS,
    "expired": "what runs",
    "stale_dispatches": "what has a slot",
    "executions_of_flow_runs": "the executions of these flow runs",
    "claim_poll": "polls that are due at the same time",
    "polls": "polls",
    "tokens": "credentials",
    "finish_poll": "the keys of one poll, which are bounded",
    "execution": _STEPS,
    "execution_of_flow_run": "the executions of one flow run; the steps of the newest",
    "unrecorded": "the steps and waits of those that are asked for",
    "prune": "the large documents of what is deleted",
    "forget_caller": "the callers of one execution",
}
"""What is sorted, of which there is never much."""


@pytest.fixture
async def store(history_url: str) -> AsyncIterator[SqlStore]:
    """A history of much that ended, some that waits for a full workflow, a little that runs.

    PostgreSQL has statistics of it, as it makes them itself. SQLite has none: nobody makes them.
    """
    store = SqlStore(history_url)
    await store.open()
    await fill(history_url, PAST, workflows=7)
    await _execute(history_url, *LARGE)
    await make_present(store, waiting=WAITING)
    if history_url.startswith("postgresql"):
        await _execute(history_url, "ANALYZE")
    yield store
    await store.close()


async def _execute(url: str, *statements: str) -> None:
    def execute(connection: Connection) -> None:
        for statement in statements:
            connection.exec_driver_sql(statement)

    await single_transaction(database_url(url), execute, writes=True)


@contextmanager
def noted(store: SqlStore, sent: Sent) -> Iterator[None]:
    """Notes the statements, with their parameters, that the store sends meanwhile."""

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, executemany: bool) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH", "UPDATE", "DELETE", "INSERT")):
            is_many = executemany and isinstance(parameters, list)
            sent.append((statement, parameters[0] if is_many else parameters))

    engines = (store._reader.engine, store._writer.engine)
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


async def plans(url: str, sent: Sent) -> list[str]:
    """How the database goes about them."""

    def explain(connection: Connection) -> list[str]:
        return [_plan(connection, *one) for one in sent]

    return await single_transaction(database_url(url), explain, writes=True)


def _plan(connection: Connection, statement: str, parameters: Any) -> str:
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return "\n".join(row[3] for row in rows)
    if "FOR NO KEY UPDATE" not in statement and "found(" not in statement:  # reading: planned with the parameters
        return "\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())
    # Writing: PostgreSQL may come to plan it once for whatever parameters.
    connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
    connection.exec_driver_sql(f"PREPARE sent AS {statement}")
    values = f"({', '.join(['NULL'] * len(parameters))})" if parameters else ""
    plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN EXECUTE sent{values}").scalars())
    connection.exec_driver_sql("DEALLOCATE sent")
    connection.exec_driver_sql("RESET plan_cache_mode")
    return plan


async def test_every_statement_finds_its_rows(store: SqlStore, history_url: str) -> None:
    scans: dict[str, list[str]] = {}
    sorts: dict[str, list[str]] = {}
    for name, case in EVERY_CALL.items():
        sent: Sent = []
        await case(store, partial(noted, store, sent))
        assert sent or name == "compact"
        lines = [line for plan in await plans(history_url, sent) for line in plan.splitlines()]
        scans[name] = [line.strip() for line in lines if _scans(line)]
        sorts[name] = [line.strip() for line in lines if _sorts(line)]

    assert {name: found for name, found in scans.items() if found and name not in READS_ALL} == {}
    assert {name: found for name, found in sorts.items() if found and name not in SORTS} == {}


def _scans(line: str) -> bool:
    """All of a table that grows, or of an index of it that does."""
    on_sqlite = re.match(rf"SCAN (?:{GROWING})\b(?: USING (?:COVERING )?INDEX (\w+))?", line)
    return bool(re.search(rf"Seq Scan on (?:{GROWING})\b", line) or (on_sqlite and on_sqlite[1] not in OPEN))


def _sorts(line: str) -> bool:
    return bool(re.search(r"Sort Key: (?!lanes\.|overflow\.)|TEMP B-TREE", line))


async def test_admission_sends_as_many_statements_for_a_long_queue_as_for_a_short_one(store: SqlStore) -> None:
    async def settle() -> None:
        while (admitted := await store.admit(limit=100, claim=60)) or admitted.due is not None:
            pass

    await settle()

    async def statements() -> list[str]:
        sent: Sent = []
        with noted(store, sent):
            await admitted(store, limit=10)
        return [statement for statement, _ in sent]

    full = await statements()
    await store.accept([an_execution(workflow="full") for _ in range(WAITING)])
    await store.accept([keyed("by-key", n % 3) for n in range(WAITING)])
    await settle()

    assert await statements() == full
