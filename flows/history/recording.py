"""`Recording` in SQL: of which express executions Prefect has been told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from flows.history import reads
from flows.history.models import IS_UNRECORDED, executions
from flows.history.records import Execution

_table = executions.c


def unrecorded(connection: Connection, limit: int) -> list[Execution]:
    query = select(executions).where(IS_UNRECORDED).order_by(_table.finished_at).limit(limit)
    return reads.whole(connection, connection.execute(query).mappings().all())


def note_recorded(connection: Connection, execution_ids: Sequence[str], at: datetime) -> None:
    of_these = _table.id.in_(execution_ids) & _table.finished_at.is_not(None)
    connection.execute(update(executions).where(of_these).values(recorded_at=at))


def last_recorded(connection: Connection) -> datetime | None:
    return connection.execute(select(func.max(_table.recorded_at)).where(_table.recorded_at.is_not(None))).scalar()


def forget_recorded(connection: Connection, after: datetime | None, limit: int) -> int:
    recorded = select(_table.id).where(_table.recorded_at.is_not(None))
    if after is not None:
        recorded = recorded.where(_table.recorded_at > after)
    ids = connection.execute(recorded.order_by(_table.recorded_at).limit(limit)).scalars().all()
    connection.execute(update(executions).where(_table.id.in_(ids)).values(recorded_at=None))
    return len(ids)
