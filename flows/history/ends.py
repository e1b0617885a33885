"""How executions end, in SQL, whoever ends them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, update

from flows.history import waits
from flows.history.database_time import DatabaseTime
from flows.history.models import executions, step_executions
from flows.history.records import Status, step_address
from flows.history.rows import KEPT_FOR_CALLER, Row, end_of_open_steps

UNFINISHED = [status.value for status in Status if not status.is_final]
FINAL = [status.value for status in Status if status.is_final]

NOBODYS: Row = {"owner": None, "lease_until": None, "claimed_until": None, "parked_at": None}
"""What an execution that has ended has in these columns."""


ENDED = [executions.c[name] for name in ("id", "status", "finished_at", "parked_runs", "parent_id", "parent_path")]
"""What `note_end` needs of an execution."""


def end(
    connection: Connection, ids: Sequence[str], status: Status, time: DatabaseTime, *, error: str | None = None
) -> None:
    """Ends executions whose rows are locked, and which have not ended."""
    if not ids:
        return
    at = time.read(connection)
    values = NOBODYS | {"status": status.value, "finished_at": at, "error": error}
    statement = update(executions).where(executions.c.id.in_(ids)).values(values)
    ended = connection.execute(statement.returning(*ENDED)).mappings().all()
    end_open_steps(connection, ids, status, at)
    for row in ended:
        note_end(connection, row, time)


def note_end(connection: Connection, ended: Mapping[Any, Any], time: DatabaseTime) -> None:
    """An execution that has ended waits for nothing, and answers the step that called it."""
    if ended["parked_runs"]:
        waits.end_open(connection, [ended["id"]], ended["finished_at"])
    if ended["parent_path"] is not None:
        address = step_address(ended["parent_id"], ended["parent_path"])
        said = {"execution_id": ended["id"], "status": ended["status"]}
        waits.answer(connection, address, said, None, KEPT_FOR_CALLER, time)


def end_open_steps(connection: Connection, ids: Sequence[str], status: Status, at: datetime) -> None:
    """Steps that still ran when their executions ended."""
    steps = step_executions.c
    still_open = steps.execution_id.in_(ids) & (steps.status == Status.RUNNING)
    ended = {"status": end_of_open_steps(status).value, "finished_at": at}
    connection.execute(update(step_executions).where(still_open).values(ended))
