"""`Takeover` in SQL, but for what it shares with `Running`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, func, select, update

from flows.history.database_time import DatabaseTime
from flows.history.models import HAS_SLOT, executions
from flows.history.reads import LISTED, is_shown_as, light
from flows.history.records import Execution, Status

_table = executions.c


def expired(connection: Connection, limit: int, time: DatabaseTime) -> list[Execution]:
    over = (_table.status == Status.RUNNING) & (_table.lease_until <= time.read(connection))
    return light(connection, select(*LISTED).where(over).order_by(_table.lease_until, _table.id).limit(limit))


def owned(connection: Connection, owner_prefix: str) -> list[Execution]:
    # Not LIKE: on SQLite that ignores case
    starts = func.substr(_table.owner, 1, len(owner_prefix)) == owner_prefix
    return light(connection, select(*LISTED).where(_table.status == Status.RUNNING, starts).order_by(_table.id))


def stale_dispatches(connection: Connection, older_than: float, limit: int, time: DatabaseTime) -> list[Execution]:
    before = time.read(connection) - timedelta(seconds=older_than)
    # Only what has a flow run was dispatched. Not asked for by name: SQLite would read the index of all flow runs.
    stale = select(*LISTED).where(HAS_SLOT, _table.owner.is_(None), _table.dispatched_at < before)
    return light(connection, stale.order_by(_table.dispatched_at, _table.id).limit(limit))


def undispatch(connection: Connection, execution_id: str) -> None:
    waiting = (_table.id == execution_id) & (_table.status == Status.ACCEPTED)
    forgotten = {"flow_run_id": None, "dispatched_at": None, "claimed_until": None}
    connection.execute(update(executions).where(waiting).values(forgotten))


def executions_of_flow_runs(connection: Connection, flow_run_ids: Sequence[str]) -> dict[str, Execution]:
    query = select(*LISTED).where(is_shown_as(flow_run_ids)).order_by(_table.id)
    return {str(execution.shown_as): execution for execution in light(connection, query)}
