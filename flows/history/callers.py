"""`Callers` in SQL: notes on who waits for an execution's end."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, delete, select

from flows.history.database import upsert
from flows.history.database_time import DatabaseTime
from flows.history.models import callers


def note(connection: Connection, execution_id: str, waiter: str, seconds: float, time: DatabaseTime) -> None:
    until = time.read(connection) + timedelta(seconds=seconds)
    statement = upsert(connection, callers).values(execution_id=execution_id, waiter=waiter, until=until)
    key = ["execution_id", "waiter"]
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_={"until": until}))


def forget(connection: Connection, execution_id: str, waiter: str, time: DatabaseTime) -> bool:
    """All notes are locked first: of two who leave at once, the second sees that the first has gone."""
    of_this = callers.c.execution_id == execution_id
    query = select(callers.c.waiter, callers.c.until).where(of_this).order_by(callers.c.waiter).with_for_update()
    notes = connection.execute(query).all()
    connection.execute(delete(callers).where(of_this, callers.c.waiter == waiter))
    now = time.read(connection)
    return not any(note.waiter != waiter and note.until > now for note in notes)
