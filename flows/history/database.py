"""The two databases behind one SQLAlchemy engine: addresses, connections, and what their errors mean."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy import URL, Connection, Table, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from foundation.errors import ConfigurationError, StorageUnavailable

R = TypeVar("R")

LOCK_WAIT = 30.0
"""Seconds a write waits for another process's write."""

_TRY_AGAIN_AFTER = 0.05  # seconds

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}

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


def connect(url: URL, *, connections: int, writes: bool, lock_wait: float = LOCK_WAIT) -> AsyncEngine:
    """An engine; it connects when it is first used, and again when its connections broke.

    A transaction of one that `writes` is the database's only one on SQLite; one that only reads sees one snapshot.
    """
    if url.get_backend_name() == "postgresql":
        milliseconds = str(round(lock_wait * 1000))
        return create_async_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,  # errors must not show what events hold
            isolation_level="READ COMMITTED" if writes else "REPEATABLE READ",
            connect_args={
                "timeout": 10,
                "command_timeout": 60 + lock_wait,  # seconds; a network that swallows packets must not hang us
                "server_settings": {
                    "application_name": "ipaas",
                    "lock_timeout": milliseconds,
                    # A plan that fits every status and workflow would read all of a large history for a rare one.
                    "plan_cache_mode": "auto" if writes else "force_custom_plan",
                },
            },
        )
    engine = create_async_engine(url, pool_size=connections, max_overflow=0, hide_parameters=True)

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        cursor = connection.cursor()
        try:
            cursor.execute(f"PRAGMA busy_timeout = {round(lock_wait * 1000)}")
            cursor.execute("PRAGMA page_count")
            if cursor.fetchone() == (0,):  # a new file: later it counts no more, and would wait for a lock
                cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")  # with NORMAL, a power cut may take back the last commits
            cursor.execute("PRAGMA foreign_keys = ON")
        except sqlite3.Error:
            connection.close()
            raise
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


async def transaction(
    engine: AsyncEngine, work: Callable[[Connection], R], *, lock_wait: float = LOCK_WAIT, at_start: bool = False
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
            with _storage_errors(engine.url, at_start=at_start):
                async with engine.begin() as connection:
                    return await connection.run_sync(work)
        except Contended:
            if now() >= deadline:
                raise
        await asyncio.sleep(_TRY_AGAIN_AFTER)


def upsert(connection: Connection, table: Table) -> sqlite.Insert:
    """An INSERT that knows ON CONFLICT; both dialects' take the same calls."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return cast(sqlite.Insert, dialect.insert(table))


def give_back(connection: Connection, pages: int) -> bool:
    """Gives up to that many free pages of a SQLite file back to the disk; whether there are more. See `auto_vacuum`."""
    if connection.dialect.name != "sqlite":
        return False
    driver = connection.connection.driver_connection
    # The pragma frees a page for each row that is read of it, and it has no columns: SQLAlchemy would read none.
    await_only(driver.execute_fetchall(f"PRAGMA incremental_vacuum({pages})"))  # type: ignore[union-attr]  # aiosqlite's
    return bool(connection.exec_driver_sql("PRAGMA freelist_count").scalar())


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
