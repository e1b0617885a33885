"""The two databases behind one interface: addresses, transactions, and what their errors mean."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar, cast

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy import URL, Connection, Engine, Table, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from flows.history.postgres import PostgresConnections
from flows.history.sqlite import SqliteThreads
from foundation.errors import ConfigurationError, StorageUnavailable

R = TypeVar("R")

LOCK_WAIT = 30.0
"""Seconds a write waits for another process's write."""

_TRY_AGAIN_AFTER = 0.05  # seconds

_DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}

# https://sqlite.org/rescode.html
_SQLITE_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SQLITE_STATEMENT = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_MISUSE,
    sqlite3.SQLITE_RANGE,
}

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_PG_CONTENTION = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock timeout
_PG_MISCONFIGURED = {"28000", "28P01", "3D000"}  # not authorized, wrong password, no such database
_PG_UNAVAILABLE = ("08", "25006", "53", "57", "58", "XX")  # connection, read-only, resources, shutdown, I/O, corruption

_CLASS_OF_CAUSE = re.compile(r"^<class '[^']*'>: ")  # how SQLAlchemy begins the messages of asyncpg


class Contended(StorageUnavailable):
    """Another process holds the lock, or the database broke a deadlock with this transaction: worth trying again."""


def database_url(url: str) -> URL:
    """The URL with the driver that is used here.

    Raises:
        ConfigurationError: it is no URL, of another database, or of a database in memory.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError("the database URL is not a URL: use sqlite:///path or postgresql://…") from None
    scheme = parsed.get_backend_name() if "+" in parsed.drivername else parsed.drivername
    if scheme not in _DRIVERS:
        raise ConfigurationError(f"a history in {scheme!r} is not supported: use sqlite:///path or postgresql://…")
    parsed = parsed.set(drivername=_DRIVERS[scheme])
    if scheme == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ConfigurationError("the history needs a file: use sqlite:///path")
    if "sslmode" in parsed.query:  # libpq's word for what asyncpg calls ssl
        mode = parsed.query["sslmode"]
        parsed = parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return parsed


def sqlite_file(url: URL) -> Path | None:
    """The database's file; None on PostgreSQL."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


class Database(Protocol):
    """Connections to one database. They are made when they are first needed, and again when they broke."""

    @property
    def engine(self) -> Engine:
        """What the transactions run on; connections of its own are for `transact` only."""

    async def transact(self, work: Callable[[Connection], R]) -> R:
        """The result of `work` in one transaction, once what it did is durable. Raises what the driver raises."""

    async def close(self) -> None:
        """Closes the connections; whoever goes on gets new ones."""


def connect(url: URL, *, connections: int, writes: bool, lock_wait: float = LOCK_WAIT) -> Database:
    """A transaction of one that `writes` is the database's only one on SQLite; one that only reads sees one snapshot.

    Args:
        connections: the most at a time.
        lock_wait: seconds a transaction waits for other processes'.
    """
    kind = PostgresConnections if url.get_backend_name() == "postgresql" else SqliteThreads
    return kind(url, connections=connections, writes=writes, lock_wait=lock_wait)


async def transaction(
    database: Database, work: Callable[[Connection], R], *, lock_wait: float = LOCK_WAIT, at_start: bool = False
) -> R:
    """The result of `work`, once what it did is durable. It is begun anew when the database is busy, for `lock_wait`.

    SQLite's own waiting does not cover all: not the switch to WAL, not the clearing up of who closes last.

    Args:
        at_start: nothing has worked yet, so what only an operator can mend is a ConfigurationError.
    Raises:
        StorageUnavailable: the database does not answer, or was busy for too long.
    """
    now = asyncio.get_running_loop().time
    deadline = now() + lock_wait
    while True:
        try:
            with _storage_errors(database.engine.url, at_start=at_start):
                return await database.transact(work)
        except Contended:
            if now() >= deadline:
                raise
        await asyncio.sleep(_TRY_AGAIN_AFTER)


async def single_transaction(url: URL, work: Callable[[Connection], R], *, writes: bool, at_start: bool = False) -> R:
    """`transaction` on a connection that is made for it."""
    database = connect(url, connections=1, writes=writes)
    try:
        return await transaction(database, work, at_start=at_start)
    finally:
        await database.close()


def upsert(connection: Connection, table: Table) -> sqlite.Insert:
    """An INSERT that knows ON CONFLICT; both dialects' take the same calls."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return cast(sqlite.Insert, dialect.insert(table))


@contextmanager
def _storage_errors(url: URL, *, at_start: bool) -> Iterator[None]:
    """Turns the errors that are the database's, not a statement's, into StorageUnavailable."""
    try:
        yield
    except (DBAPIError, sqlite3.Error, asyncpg.PostgresError, PoolTimeout, OSError) as error:
        cause = (error.orig if isinstance(error, DBAPIError) else None) or error
        meaning = _meaning(error, cause)
        if meaning is None:
            raise
        message = _CLASS_OF_CAUSE.sub("", str(cause)).partition("\n")[0] or type(cause).__name__
        place = url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)
        if not at_start and meaning is ConfigurationError:
            meaning = StorageUnavailable
        raise meaning(f"the history's database {place} is not usable: {message}") from error


def _meaning(error: Exception, cause: BaseException) -> type[StorageUnavailable | ConfigurationError] | None:
    """None: the statement itself is at fault."""
    sqlite_code, state = getattr(cause, "sqlite_errorcode", None), getattr(cause, "sqlstate", None)
    if sqlite_code is not None:
        return _of_sqlite(sqlite_code & 0xFF)
    if state is not None:
        return _of_postgres(state)
    if isinstance(error, DBAPIError):
        return StorageUnavailable if error.connection_invalidated or isinstance(error, InterfaceError) else None
    return StorageUnavailable


def _of_sqlite(code: int) -> type[StorageUnavailable | ConfigurationError] | None:
    if code in _SQLITE_BUSY:
        return Contended
    if code == sqlite3.SQLITE_NOTADB:
        return ConfigurationError
    return None if code in _SQLITE_STATEMENT else StorageUnavailable


def _of_postgres(state: str) -> type[StorageUnavailable | ConfigurationError] | None:
    if state in _PG_CONTENTION:
        return Contended
    if state in _PG_MISCONFIGURED:
        return ConfigurationError
    return StorageUnavailable if state.startswith(_PG_UNAVAILABLE) else None
