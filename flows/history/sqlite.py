"""SQLite by threads: the driver blocks, and to hand it one statement at a time costs more than the statements do."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, create_engine, event

R = TypeVar("R")

_LOOK_SECONDS = 0.0005


class SqliteThreads:
    """A `Database` with a thread for each connection, which takes a whole transaction at a time.

    A transaction that a thread has begun is ended by it, whether or not its caller still waits.
    """

    def __init__(self, url: URL, *, connections: int, writes: bool, lock_wait: float) -> None:
        self.engine = create_engine(url, pool_size=connections, max_overflow=0, hide_parameters=True)
        self._connections = connections
        self._threads = self._new_threads()

        @event.listens_for(self.engine, "connect")
        def _prepare(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None  # the driver must not begin transactions of its own
            try:
                connection.execute(f"PRAGMA busy_timeout = {round(lock_wait * 1000)}")
                if connection.execute("PRAGMA page_count").fetchone() == (0,):
                    # A new file: later it counts no more, and would wait for a lock.
                    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("PRAGMA journal_mode = WAL")
                # With NORMAL, a power cut may take back the last commits.
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                if writes:
                    connection.execute("PRAGMA busy_timeout = 0")  # `_begin_to_write` waits
            except sqlite3.Error:
                connection.close()
                raise

        @event.listens_for(self.engine, "begin")
        def _begin(connection: Connection) -> None:
            if writes:
                _begin_to_write(connection.connection.driver_connection, lock_wait)
            else:
                connection.exec_driver_sql("BEGIN")

    async def transact(self, work: Callable[[Connection], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._transact, work)

    async def close(self) -> None:
        threads, self._threads = self._threads, self._new_threads()
        await asyncio.to_thread(self._close, threads)

    def _transact(self, work: Callable[[Connection], R]) -> R:
        with self.engine.begin() as connection:
            return work(connection)

    def _close(self, threads: ThreadPoolExecutor) -> None:
        threads.shutdown()  # waits for what they have begun
        self.engine.dispose()  # whoever closes the last connection writes the log into the file

    def _new_threads(self) -> ThreadPoolExecutor:
        """None runs before it is needed."""
        return ThreadPoolExecutor(self._connections, thread_name_prefix="history")


def _begin_to_write(driver: Any, lock_wait: float) -> None:
    """Waits for other processes' writes by looking often.

    SQLite's own waiting looks ever less often, up to every 100 ms: who writes all the time leaves the others behind.
    """
    deadline = time.monotonic() + lock_wait
    while True:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
        else:
            return
        time.sleep(_LOOK_SECONDS)


def give_back(connection: Connection, pages: int) -> bool:
    """Gives up to that many free pages of a SQLite file back to the disk; whether there are more. See `auto_vacuum`."""
    if connection.dialect.name != "sqlite":
        return False
    driver: Any = connection.connection.driver_connection
    # The pragma frees a page for each row that is read of it, and it has no columns: SQLAlchemy would read none.
    driver.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
    return bool(connection.exec_driver_sql("PRAGMA freelist_count").scalar())
