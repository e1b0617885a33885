"""`Archive` in SQL, but for its queries (`reads`): cancelling, and keeping the history small."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from flows.history import payloads
from flows.history.database_time import DatabaseTime
from flows.history.documents import to_document
from flows.history.ends import end
from flows.history.models import callers, deliveries, events, executions, kept_answers, lanes
from flows.history.records import Execution, Json, Status
from flows.history.rows import execution_of


def request_cancel(connection: Connection, execution_id: str, request: Json, time: DatabaseTime) -> Execution | None:
    this = executions.c.id == execution_id
    row = connection.execute(select(executions).where(this).with_for_update()).mappings().first()
    if row is None:
        return None
    status = Status(row["status"])
    if not status.is_final and row["cancel_requested"] is None:
        connection.execute(update(executions).where(this).values(cancel_requested=to_document(request)))
    if status is Status.WAITING or (status is Status.ACCEPTED and row["flow_run_id"] is None):
        end(connection, [execution_id], Status.CANCELLED, time)
    now = connection.execute(select(executions).where(this)).mappings()
    return execution_of(payloads.whole(connection, now, "output", "answer")[0])


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


def forget_deliveries(connection: Connection, limit: int, now: datetime) -> int:
    over = select(deliveries.c.key).where(deliveries.c.expires_at <= now)
    over = over.order_by(deliveries.c.expires_at).limit(limit)  # by the key it would read them all
    keys = connection.execute(over.with_for_update(skip_locked=True)).scalars().all()
    connection.execute(delete(deliveries).where(deliveries.c.key.in_(keys)))
    connection.execute(delete(callers).where(callers.c.until <= now))
    connection.execute(delete(lanes).where(lanes.c.due.is_(None), lanes.c.since <= now))
    connection.execute(delete(kept_answers).where(kept_answers.c.expires_at <= now))
    return len(keys)
