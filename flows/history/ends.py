"""How executions end, in SQL, whoever ends them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, update

from flows.history.models import executions, step_executions
from flows.history.records import Status
from flows.history.rows import Row, end_of_open_steps

UNFINISHED = [status.value for status in Status if not status.is_final]
FINAL = [status.value for status in Status if status.is_final]

NOBODYS: Row = {"owner": None, "lease_until": None, "claimed_until": None}
"""What an execution that has ended has in these columns."""


def end(connection: Connection, ids: Sequence[str], status: Status, at: datetime, *, error: str | None = None) -> None:
    """Ends executions whose rows are locked, and which have not ended."""
    if not ids:
        return
    values = NOBODYS | {"status": status.value, "finished_at": at, "error": error}
    connection.execute(update(executions).where(executions.c.id.in_(ids)).values(values))
    end_open_steps(connection, ids, status, at)


def end_open_steps(connection: Connection, ids: Sequence[str], status: Status, at: datetime) -> None:
    """Steps that still ran when their executions ended."""
    steps = step_executions.c
    still_open = steps.execution_id.in_(ids) & (steps.status == Status.RUNNING)
    ended = {"status": end_of_open_steps(status).value, "finished_at": at}
    connection.execute(update(step_executions).where(still_open).values(ended))
