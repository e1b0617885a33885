"""What is asked often costs no more in a large history: every statement that is sent finds its rows by an index."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from store_builders import T0, a_version, accepted, admitted, an_execution, finish, hold_of, running

from flows.history import Key, NewExecution, NewWait, Status, WaitKind, signal_address
from flows.history.database import database_url, single_transaction
from flows.history.records import Rule
from flows.history.sql import SqlStore

Sent = list[tuple[str, Any]]

ENDED = """
INSERT INTO executions (id, workflow, version, trigger, status, event_id, accepted_at, finished_at, spent, runs)
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)
SELECT 'ended-' || n, 'w' || (n % 7), 'v1', 'webhook', 'succeeded', '-', '2026-01-01 00:00', '2026-01-01 00:00', 0, 1
FROM numbers
"""
WAITED = """
INSERT INTO waits (execution_id, path, kind, address, begun_at, due_at, ended_at, answered)
SELECT id, 'pause', 'signal', 'signal:' || id, accepted_at, accepted_at, accepted_at, FALSE
FROM executions WHERE id LIKE 'ended-%'
"""
WAITING = 100
OF = "event.body.customer"
BY_KEY = {"limit": 1, "key": OF}
KEYED: dict[str, Any] = {
    "by-key": {"concurrency": [{"limit": 5}, BY_KEY]},
    "latest": {"concurrency": [{"limit": 5}, BY_KEY | {"overflow": "latest"}]},
    "throttled": {"concurrency": {"limit": 50}, "throttle": {"limit": 1, "per": 0.001, "key": OF}},
    "debounced": {"debounce": {"quiet": 0.001, "key": OF}},
    "batched": {"batch": {"size": 3, "within": 0.001, "key": OF}},
}
"""Of each there is something to do."""


def keyed(workflow: str, customer: int) -> NewExecution:
    rules: tuple[Rule, ...] = ("concurrency", "throttle", "debounce", "batch")
    return an_execution(workflow=workflow, keys=[Key.made(rule, OF, str(customer)) for rule in rules])


@pytest.fixture
async def store(history_url: str) -> AsyncIterator[SqlStore]:
    """A history of much that ended, some that waits for a full workflow, a little that runs.

    PostgreSQL has statistics of it, as it makes them itself. SQLite has none: nobody makes them.
    """
    store = SqlStore(history_url)
    await store.open()
    for workflow in ("full", "free", "quiet"):
        await store.publish(a_version(workflow=workflow, declaration={"concurrency": {"limit": 5}}))
    await _sql(history_url, ENDED)
    await _sql(history_url, WAITED)
    await finish(store, await running(store, workflow="w1"), Status.FAILED)
    await store.accept([an_execution(workflow="full") for _ in range(WAITING)])
    for workflow, declaration in KEYED.items():
        await store.publish(a_version(workflow=workflow, declaration=declaration))
    await store.accept([keyed(workflow, n % 10) for workflow in KEYED for n in range(30)])
    await admitted(store)
    await store.accept([keyed(workflow, n) for workflow in KEYED for n in range(20)])
    for workflow in ("full", "free"):
        await accepted(store, workflow=workflow, flow_run_id=f"run-of-{workflow}")
    await running(store, workflow="quiet", lease=-1)
    waits = [NewWait("ask", WaitKind.APPROVAL, signal_address("asked"), T0)]
    await store.park(await hold_of(store, await running(store, workflow="w2")), waits)
    if history_url.startswith("postgresql"):
        await _sql(history_url, "ANALYZE")
    yield store
    await store.close()


async def _sql(url: str, statement: str) -> None:
    await single_transaction(database_url(url), lambda connection: connection.execute(text(statement)), writes=True)


@contextmanager
def sent_by(store: SqlStore) -> Iterator[Sent]:
    """The queries and updates, with their parameters, that the store sends meanwhile."""
    sent: Sent = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, executemany: bool) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH", "UPDATE")):
            sent.append((statement, parameters[0] if executemany else parameters))

    engines = (store._reader.engine, store._writer.engine)
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield sent
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
    return plan


async def begin_one(store: SqlStore) -> None:
    new = keyed("by-key", 1)
    await store.accept([new])
    await store.begin(new.id, flow_run_id=None, owner="host/1", lease=60)


CALLS: dict[str, tuple[Callable[[SqlStore], Awaitable[Any]], set[str]]] = {
    "admit": (lambda store: store.admit(limit=100, claim=30), {"waiting", "to_dispatch", "slots"}),
    "begin unadmitted": (lambda store: begin_one(store), {"waiting", "slots"}),
    "by rare status": (lambda store: store.executions(status=Status.FAILED), {"status_id"}),
    "by workflow and status": (
        lambda store: store.executions(workflow="w1", status=Status.FAILED),
        {"workflow_status_id"},
    ),
    "by workflow": (lambda store: store.executions(workflow="quiet"), {"workflow_id"}),
    "expired": (lambda store: store.expired(), {"status_id"}),
    "owned": (lambda store: store.owned("host/"), {"status_id"}),
    "stale dispatches": (lambda store: store.stale_dispatches(older_than=60, limit=10), {"slots"}),
    "of flow runs": (lambda store: store.executions_of_flow_runs(["run-of-free"]), {"flow_run_id"}),
    "of a flow run": (lambda store: store.execution_of_flow_run("run-of-free"), {"flow_run_id"}),
    "end of newest": (lambda store: store.end_of_newest(10), {"finished_at"}),
    "backlog": (lambda store: store.backlog(), set()),
    "oldest accepted": (lambda store: store.oldest_accepted(), set()),
    "by common status": (lambda store: store.executions(status=Status.SUCCEEDED), set()),
}


@pytest.mark.parametrize("call", CALLS)
async def test_it_scans_no_table_of_executions(store: SqlStore, history_url: str, call: str) -> None:
    ask, indexes = CALLS[call]
    with sent_by(store) as sent:
        await ask(store)

    found = [plan for plan in await plans(history_url, sent) if "executions" in plan]

    assert found
    assert [plan for plan in found for line in plan.splitlines() if _scans_executions(line)] == []
    assert indexes <= set(re.findall(r"ix_executions_(\w+)", "\n".join(found)))


def _scans_executions(line: str) -> bool:
    on_postgres = "Seq Scan on executions" in line
    on_sqlite = line.startswith("SCAN executions") and ("USING" not in line or "autoindex" in line)
    return on_postgres or on_sqlite


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda store: store.wake(limit=100), "ix_waits_due"),
        (lambda store: store.answer(signal_address("asked"), None, by=None, keep=1), "ix_waits_"),
        (lambda store: store.wait_at(signal_address("asked")), "ix_waits_address"),
        (lambda store: store.open_waits(WaitKind.APPROVAL, limit=10), "ix_waits_open"),
    ],
    ids=["wake", "answer", "wait at", "open waits"],
)
async def test_waits_that_are_over_cost_nothing(
    store: SqlStore, history_url: str, ask: Callable[[SqlStore], Awaitable[Any]], index: str
) -> None:
    with sent_by(store) as sent:
        await ask(store)

    found = "\n".join(await plans(history_url, sent))

    assert index in found
    assert "Seq Scan on waits" not in found
    assert "SCAN waits" not in found.replace("SCAN waits USING INDEX ix_waits", "")


SORTS = re.compile(r"Sort Key: (?!lanes\.|overflow\.)|TEMP B-TREE FOR ORDER BY", re.MULTILINE)
"""Of lanes and overflow there is so little here that PostgreSQL reads all of it."""


@pytest.mark.parametrize("call", ["by common status", "by rare status", "by workflow and status", "admit"])
async def test_it_sorts_nothing(store: SqlStore, history_url: str, call: str) -> None:
    """Sorting reads the whole queue before it gives the first row."""
    with sent_by(store) as sent:
        await CALLS[call][0](store)

    found = [plan for plan in await plans(history_url, sent) if "executions" in plan]

    assert not [plan for plan in found if SORTS.search(plan)]


async def test_admission_sends_as_many_statements_for_a_long_queue_as_for_a_short_one(store: SqlStore) -> None:
    async def settle() -> None:
        while (admitted := await store.admit(limit=100, claim=60)) or admitted.due is not None:
            pass

    await settle()

    async def statements() -> list[str]:
        with sent_by(store) as sent:
            await admitted(store, limit=10)
        return [statement for statement, _ in sent]

    full = await statements()
    await store.accept([an_execution(workflow="full") for _ in range(WAITING)])
    await store.accept([keyed("by-key", n % 3) for n in range(WAITING)])
    await settle()

    assert await statements() == full
