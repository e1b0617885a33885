"""A database of the first schema, with rows, on its way to the present one: what it means stays the same."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, inspect, text
from store_builders import HOUR, MINUTE, SECOND, T0, a_step, accepted, admitted, begun, get, ids

from flows.history import Hold, Status, migrations
from flows.history.database import database_url, single_transaction
from flows.history.models import metadata
from flows.history.sql import SqlStore
from foundation.clock import ManualClock

LARGE = json.dumps({"body": "large"})
DECLARATIONS = {
    "orders": {"concurrency": {"limit": 3, "overflow": "cancel"}, "timeout": 300.0},
    "plain": {"timeout": 300.0},
    "undeclared": None,
}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    sqlite: str = f"sqlite:///{tmp_path / 'history.db'}"
    return sqlite if request.param == "sqlite" else request.getfixturevalue("postgres_url")


def an_old_execution(execution_id: str, status: str, **values: object) -> dict[str, object]:
    defaults = {"flow_run_id": None, "started_at": None, "finished_at": None, "owner": None, "lease_until": None}
    more = {"output": None, "dispatched_at": None, "runs": 0, "workflow": "orders"}
    return defaults | more | {"id": execution_id, "status": status, "event_id": f"event-{execution_id}"} | values


EXECUTIONS = [
    an_old_execution("1-ended", "succeeded", started_at=T0, finished_at=T0 + HOUR, output="sha256:abc", runs=1),
    an_old_execution("2-runs", "running", started_at=T0, owner="h/1", lease_until=T0, flow_run_id="run-2", runs=2),
    an_old_execution("3-handed-over", "accepted", flow_run_id="run-3", dispatched_at=T0),
    an_old_execution("4-waits", "accepted"),
    an_old_execution("5-waits", "accepted"),
    an_old_execution("6-elsewhere", "accepted", workflow="plain"),
]


async def write(url: str, statements: list[tuple[str, list[dict[str, object]]]]) -> None:
    def insert(connection: Connection) -> None:
        for statement, rows in statements:
            for row in rows:
                connection.execute(text(statement), {key: _bound(value, url) for key, value in row.items()})

    await single_transaction(database_url(url), insert, writes=True)


def _bound(value: object, url: str) -> object:
    if isinstance(value, datetime) and url.startswith("sqlite"):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    return value


def an_insert(table: str, rows: list[dict[str, object]]) -> tuple[str, list[dict[str, object]]]:
    columns = ", ".join(rows[0])
    return f"INSERT INTO {table} ({columns}) VALUES ({', '.join(':' + name for name in rows[0])})", rows


@pytest.fixture
async def old(url: str) -> str:
    await migrations.upgrade(url, "0001")
    versions = [
        {"workflow": name, "version": "v1", "language": "yaml", "source": "s", "file": "f", "description": "d"}
        | {"tags": "[]", "created_at": T0, "declaration": None if said is None else json.dumps(said)}
        for name, said in DECLARATIONS.items()
    ]
    workflows = [{"name": name, "active": True, "current": "v1", "updated_at": T0} for name in DECLARATIONS]
    events = [{"id": execution["event_id"], "document": '{"body":1}'} for execution in EXECUTIONS]
    common = {"version": "v1", "trigger": "webhook", "accepted_at": T0}
    steps = [
        {"execution_id": "2-runs", "step_id": step_id, "action": "slack.post_message", "status": status}
        | {"attempts": 1, "started_at": T0 + at * SECOND, "output": "1"}
        for at, (step_id, status) in enumerate([("second", "succeeded"), ("first", "running")])
    ]
    await write(
        url,
        [
            an_insert("workflow_versions", versions),
            an_insert("workflows", workflows),
            an_insert("events", events),
            an_insert("executions", [execution | common for execution in EXECUTIONS]),
            an_insert("step_executions", steps),
            an_insert("payloads", [{"hash": "abc", "document": LARGE}]),
            an_insert("payload_uses", [{"execution_id": "1-ended", "hash": "abc"}]),
            an_insert("deliveries", [{"key": "k", "execution_id": "1-ended", "expires_at": None}]),
        ],
    )
    return url


@pytest.fixture
async def store(old: str) -> AsyncIterator[SqlStore]:
    await migrations.upgrade(old)
    clock = ManualClock(T0 + MINUTE)
    store = SqlStore(old, clock, database_clock=clock)
    await store.open()
    yield store
    await store.close()


async def test_executions_and_steps_are_what_they_were(store: SqlStore) -> None:
    ended, runs = await get(store, "1-ended"), await get(store, "2-runs")

    assert (ended.status, ended.output, ended.finished_at) == (Status.SUCCEEDED, {"body": "large"}, T0 + HOUR)
    assert (ended.answer, ended.admitted_at, ended.spent) == (None, None, 0.0)
    assert (runs.status, runs.hold, runs.flow_run_id) == (Status.RUNNING, Hold("2-runs", "h/1", 2), "run-2")
    assert [(step.path, step.status, step.output) for step in runs.steps] == [
        ("second", Status.SUCCEEDED, 1),
        ("first", Status.RUNNING, 1),
    ]


async def test_steps_are_saved_where_they_were(store: SqlStore) -> None:
    hold = (await begun(store, "2-runs", owner="other/2")).hold

    assert await store.save_steps(hold, [a_step("first", started_at=T0 + SECOND)])

    steps = (await get(store, "2-runs")).steps
    assert [(step.path, step.status) for step in steps] == [("second", Status.SUCCEEDED), ("first", Status.SUCCEEDED)]


async def test_what_runs_or_is_with_prefect_has_its_slot(store: SqlStore) -> None:
    assert [(await get(store, str(one["id"]))).admitted_at for one in EXECUTIONS[1:]] == [T0, T0, None, None, None]
    assert ids(await store.stale_dispatches(older_than=1, limit=10)) == ["3-handed-over"]
    assert await store.backlog() == {"orders": 3, "plain": 1}


async def test_limits_are_those_of_the_current_versions(store: SqlStore) -> None:
    limits = [(one.name, one.concurrency_limit, one.overflow) for one in await store.workflows()]

    assert limits == [("orders", 3, "cancel"), ("plain", 10, "wait"), ("undeclared", 10, "wait")]
    assert await admitted(store) == ["4-waits", "6-elsewhere"]
    assert (await get(store, "5-waits")).status is Status.CANCELLED


async def test_a_run_that_was_begun_before_counts_from_when_it_begins_again(store: SqlStore) -> None:
    assert (await begun(store, "2-runs", owner="other/2")).spent == 0.0


async def test_new_steps_come_after_the_old_ones(store: SqlStore) -> None:
    """On SQLite the table of steps was copied: its numbers must go on where they were."""
    execution_id = await accepted(store)
    hold = (await begun(store, execution_id)).hold
    for path in ("b", "a"):
        await store.save_steps(hold, [a_step(path)])

    assert [step.path for step in (await get(store, execution_id)).steps] == ["b", "a"]


async def test_an_execution_takes_its_steps_with_it(store: SqlStore, old: str) -> None:
    await store.finish((await get(store, "2-runs")).hold, Status.FAILED)
    assert await store.prune(before=T0 + timedelta(days=1), limit=10) == 2

    assert await seen(old, how_many_steps) == 0


async def test_an_upgraded_database_is_what_a_new_one_is(old: str, tmp_path: Path) -> None:
    await migrations.upgrade(old)
    fresh = f"sqlite:///{tmp_path / 'fresh.db'}"
    if old.startswith("sqlite"):
        engine = create_engine(fresh)
        metadata.create_all(engine)
        with engine.connect() as connection:
            expected = schema(connection)
        engine.dispose()
    else:
        expected = await from_models(old)

    assert await seen(old, schema) == expected


async def from_models(url: str) -> object:
    """What the models make in a schema of their own."""

    def make_and_look(connection: Connection) -> object:
        connection.execute(text("CREATE SCHEMA models"))
        connection.execute(text("SET search_path TO models"))
        metadata.create_all(connection)
        found = schema(connection)
        connection.execute(text("DROP SCHEMA models CASCADE"))
        return found

    return await single_transaction(database_url(url), make_and_look, writes=True)


async def seen(url: str, look: Callable[[Connection], object]) -> object:
    return await single_transaction(database_url(url), look, writes=False)


def how_many_steps(connection: Connection) -> object:
    return connection.execute(text("SELECT count(*) FROM step_executions")).scalar()


def schema(connection: Connection) -> object:
    """Columns, keys and indexes, with the conditions of partial ones."""
    inspector = inspect(connection)
    if connection.dialect.name == "postgresql":
        statement = (
            "SELECT replace(indexdef, schemaname || '.', '') FROM pg_indexes WHERE schemaname = current_schema()"
        )
    else:
        statement = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    indexes = {index for index in connection.execute(text(statement)).scalars() if "alembic" not in index}
    tables = {}
    for table in metadata.tables:
        columns = {
            column["name"]: (str(column["type"]), column["nullable"], column["default"])
            for column in inspector.get_columns(table)
        }
        keys = [inspector.get_pk_constraint(table)["constrained_columns"]]
        uniques = {(one["name"], tuple(one["column_names"])) for one in inspector.get_unique_constraints(table)}
        foreign = {
            (one["name"], one["referred_table"], str(one["options"])) for one in inspector.get_foreign_keys(table)
        }
        tables[table] = (columns, keys, uniques, foreign)
    return indexes, tables
