"""The history's changes, but for `accept`. Each is called inside a transaction and may be run again after a rollback.

Whatever locks many rows or keys does so in their order, so that two processes seldom wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from flows.history import payloads, reads
from flows.history.database import upsert
from flows.history.models import (
    deliveries,
    events,
    executions,
    from_document,
    step_executions,
    to_document,
    workflow_versions,
    workflows,
)
from flows.history.payloads import Placed
from flows.history.records import Execution, Json, Status, WorkflowVersion
from flows.history.rows import Row, document_or_none, end_of_open_steps, execution_of
from foundation.errors import NotFound

_VERSION = [column.name for column in workflow_versions.c]
_UNFINISHED = [Status.ACCEPTED.value, Status.RUNNING.value]


# Workflows


def publish(connection: Connection, version: WorkflowVersion, now: datetime) -> bool:
    row = {name: getattr(version, name) for name in _VERSION}
    row |= {"tags": to_document(list(version.tags)), "declaration": document_or_none(version.declaration)}
    row["created_at"] = version.created_at or now
    connection.execute(upsert(connection, workflow_versions).on_conflict_do_nothing(), row)
    statement = upsert(connection, workflows).values(
        name=version.workflow, active=True, current=version.version, updated_at=now
    )
    statement = statement.on_conflict_do_update(
        index_elements=["name"],
        set_={"current": statement.excluded.current, "updated_at": statement.excluded.updated_at},
        where=workflows.c.current != statement.excluded.current,
    )
    return connection.execute(statement.returning(workflows.c.name)).first() is not None


def change_workflow(connection: Connection, name: str, values: Row) -> bool:
    changed = connection.execute(update(workflows).where(workflows.c.name == name).values(values))
    return changed.rowcount > 0


# The way in


def claim(connection: Connection, limit: int, now: datetime, until: datetime) -> list[Execution]:
    table = executions.c
    free = (
        select(table.id)
        .where(
            table.status == Status.ACCEPTED,
            table.flow_run_id.is_(None),
            table.claimed_until.is_(None) | (table.claimed_until <= now),
        )
        .order_by(table.accepted_at, table.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    # Materialized by name: PostgreSQL may evaluate an IN's subquery more than once, and would then lock too many.
    chosen = free.cte("chosen").prefix_with("MATERIALIZED", dialect="postgresql")
    statement = update(executions).where(table.id.in_(select(chosen.c.id))).values(claimed_until=until)
    rows = connection.execute(statement.returning(executions)).mappings().all()
    documents = reads.documents(connection, [row["event_id"] for row in rows])
    claimed = [execution_of(row, event=from_document(documents[row["event_id"]])) for row in rows]
    return sorted(claimed, key=lambda execution: (execution.accepted_at, execution.id))


def dispatched(connection: Connection, flow_runs: Mapping[str, str], now: datetime) -> None:
    if not flow_runs:
        return
    statement = (
        update(executions)
        .where(executions.c.id == bindparam("execution"))
        .values(
            flow_run_id=func.coalesce(executions.c.flow_run_id, bindparam("flow_run")),
            dispatched_at=now,
            claimed_until=None,
        )
    )
    connection.execute(statement, [{"execution": id_, "flow_run": run} for id_, run in sorted(flow_runs.items())])


def release(connection: Connection, execution_ids: Sequence[str]) -> None:
    waiting = executions.c.id.in_(execution_ids) & (executions.c.status == Status.ACCEPTED)
    connection.execute(update(executions).where(waiting).values(claimed_until=None))


# Running


def begin(
    connection: Connection,
    execution_id: str,
    flow_run_id: str | None,
    owner: str,
    now: datetime,
    lease_until: datetime,
) -> Execution | None:
    table = executions.c
    values: Row = {
        "status": Status.RUNNING.value,
        "runs": table.runs + 1,
        "started_at": func.coalesce(table.started_at, bindparam("now", now, type_=table.started_at.type)),
        "owner": owner,
        "lease_until": lease_until,
        "claimed_until": None,
    }
    if flow_run_id is not None:
        values["flow_run_id"] = flow_run_id
    statement = update(executions).where(table.id == execution_id, table.status.in_(_UNFINISHED)).values(values)
    begun = connection.execute(statement).rowcount
    return reads.execution(connection, table.id == execution_id) if begun else None


def save_steps(connection: Connection, saves: Sequence[tuple[Row, Placed]]) -> list[None]:
    rows = [row for row, _ in saves]
    statement = upsert(connection, step_executions)
    changed = [name for name in rows[0] if name not in ("execution_id", "step_id")]
    statement = statement.on_conflict_do_update(
        index_elements=["execution_id", "step_id"], set_={name: statement.excluded[name] for name in changed}
    )
    try:
        connection.execute(statement, rows)
    except IntegrityError as error:
        raise NotFound(f"there is no execution {rows[0]['execution_id']}") from error
    payloads.keep(connection, [placed for _, placed in saves])
    return [None] * len(rows)


def finish(
    connection: Connection,
    execution_id: str,
    status: Status,
    now: datetime,
    output: str | None,
    error: str | None,
    placed: Placed,
) -> bool:
    table, steps = executions.c, step_executions.c
    statement = update(executions).where(table.id == execution_id, table.status.in_(_UNFINISHED))
    end = {"status": status.value, "finished_at": now, "output": output, "error": error}
    gone = {"owner": None, "lease_until": None, "claimed_until": None}
    if not connection.execute(statement.values(end | gone)).rowcount:
        return False
    payloads.keep(connection, [placed])
    open_steps = update(step_executions).where(steps.execution_id == execution_id, steps.status == Status.RUNNING)
    connection.execute(open_steps.values(status=end_of_open_steps(status).value, finished_at=now))
    return True


def renew(connection: Connection, execution_ids: Sequence[str], owner: str, until: datetime) -> list[str]:
    table = executions.c
    owned = table.id.in_(execution_ids) & (table.owner == owner) & (table.status == Status.RUNNING)
    return list(
        connection.execute(update(executions).where(owned).values(lease_until=until).returning(table.id)).scalars()
    )


def requeue(connection: Connection, execution_id: str, owner: str | None, now: datetime) -> bool:
    table = executions.c
    owned = (table.id == execution_id) & (table.status == Status.RUNNING) & table.owner.is_not_distinct_from(owner)
    values: Row = {"status": Status.ACCEPTED.value, "owner": None, "lease_until": None, "dispatched_at": now}
    return connection.execute(update(executions).where(owned).values(values)).rowcount > 0


def undispatch(connection: Connection, execution_id: str) -> None:
    waiting = (executions.c.id == execution_id) & (executions.c.status == Status.ACCEPTED)
    connection.execute(
        update(executions).where(waiting).values(flow_run_id=None, dispatched_at=None, claimed_until=None)
    )


def request_cancel(connection: Connection, execution_id: str, request: Json, now: datetime) -> Execution | None:
    this = executions.c.id == execution_id
    found = connection.execute(select(executions).where(this).with_for_update()).mappings()
    rows = payloads.whole(connection, found, "output")
    if not rows:
        return None
    [row] = rows
    values: Row = {}
    if not Status(row["status"]).is_final and row["cancel_requested"] is None:
        values["cancel_requested"] = to_document(request)
    if row["status"] == Status.ACCEPTED and row["flow_run_id"] is None:
        values |= {"status": Status.CANCELLED.value, "finished_at": now, "claimed_until": None}
    if values:
        connection.execute(update(executions).where(this).values(values))
    return execution_of({**row, **values})


# Keeping it small


def prune(connection: Connection, before: datetime, limit: int) -> int:
    old = select(executions.c.id, executions.c.event_id).where(executions.c.finished_at < before)
    rows = connection.execute(
        old.order_by(executions.c.finished_at).limit(limit).with_for_update(skip_locked=True)
    ).all()
    ids = [row.id for row in rows]
    large = payloads.used_by(connection, ids)
    connection.execute(delete(executions).where(executions.c.id.in_(ids)))
    connection.execute(delete(events).where(events.c.id.in_([row.event_id for row in rows])))
    payloads.drop_unused(connection, large)
    return len(rows)


def forget_deliveries(connection: Connection, now: datetime, limit: int) -> int:
    over = select(deliveries.c.key).where(deliveries.c.expires_at <= now).order_by(deliveries.c.key).limit(limit)
    keys = connection.execute(over.with_for_update(skip_locked=True)).scalars().all()
    connection.execute(delete(deliveries).where(deliveries.c.key.in_(keys)))
    return len(keys)
