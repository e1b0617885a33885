"""The database's own time, by which leases and claims are decided: machines that share a history may disagree."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, func, literal, select, type_coerce

from flows.history.models import UtcDateTime
from foundation.clock import Clock


class DatabaseTime:
    """PostgreSQL is asked. A SQLite file is on one machine: its time is that machine's, once the write lock is held.

    Args:
        clock: this machine's.
        instead: for tests, in place of PostgreSQL's.
    """

    def __init__(self, clock: Clock, instead: Clock | None = None) -> None:
        self._clock, self._instead = clock, instead

    def read(self, connection: Connection) -> datetime:
        """The time now. PostgreSQL's `now()` would be the transaction's first instant: before any wait for a lock."""
        if self._asks(connection):
            return connection.execute(select(type_coerce(func.clock_timestamp(), UtcDateTime))).scalar_one()
        return (self._instead or self._clock).now()

    def in_statement(self, connection: Connection, *, plus: float = 0.0) -> ColumnElement[datetime]:
        """The time when a row is written, and `plus` seconds: the row must be locked by then."""
        if self._asks(connection):
            return type_coerce(func.clock_timestamp() + timedelta(seconds=plus), UtcDateTime)
        return literal(self.read(connection) + timedelta(seconds=plus), UtcDateTime)

    def _asks(self, connection: Connection) -> bool:
        return self._instead is None and connection.dialect.name == "postgresql"
