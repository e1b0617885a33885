"""Notices over PostgreSQL: LISTEN and NOTIFY on a connection of their own, made anew when it breaks.

NOTIFY is not part of the transactions that it tells of: commits that notify wait for each other, those of the inbox
must not. What is announced while one statement is under way goes with the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import URL

from flows.history.database import LOCK_WAIT
from flows.history.notices import EVERYTHING, LocalNotices, Notice, logger, messages, notices_in
from flows.history.postgres import PostgresConnections

CHANNEL: Final = "ipaas"
ALIVE_SECONDS = 30.0
"""How often an idle connection is tried: one that a network swallowed breaks nothing by itself."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
CLOSING_SECONDS = 1.0
MOST_KEPT = 10_000
"""Notices that wait for the connection; beyond that, listeners are told to look at everything."""

_NOTIFY = """
SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, message) FROM unnest($2::text[]) AS message
"""
"""A notice writes nothing that a power cut could take, so its commit need not wait for the disk. For this transaction
alone: with a pooler in between, the connection may be another's next time."""


class PostgresNotices(LocalNotices):
    def __init__(self, url: URL) -> None:
        super().__init__()
        self._url = url
        self._unsent: dict[Notice, None] = {}
        self._something = asyncio.Event()
        self._idle = asyncio.Event()
        """Nothing waits to be sent, and nothing is under way."""
        self._idle.set()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def close(self) -> None:
        await super().close()
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._idle.wait()
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None

    def _send(self, notices: Sequence[Notice]) -> None:
        self._unsent |= dict.fromkeys(notices)
        if len(self._unsent) > MOST_KEPT:
            self._unsent = dict.fromkeys((topic, "") for topic, _ in self._unsent)
        self._idle.clear()
        self._something.set()
        self._start()

    async def _listen(self) -> None:
        """Returns when it listens, or could not connect at once."""
        self._start()
        await self._tried.wait()

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="notices")

    async def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self._connection() as connection:
                    pause = FIRST_PAUSE_SECONDS
                    self._hear(EVERYTHING)  # whatever was announced while nobody listened here
                    self._tried.set()
                    while True:
                        await self._send_next(connection)
            except Exception as error:  # noqa: BLE001 - whatever it is, notices are not worth more than trying again
                logger.warning("no notices come or go, connecting again in %g s: %s", pause, _told(error))
            self._tried.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _send_next(self, connection: Any) -> None:
        """Sends what was announced, once there is something. Raises when the connection does not work any more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ALIVE_SECONDS):
                await self._something.wait()
        self._something.clear()
        notices, self._unsent = self._unsent, {}
        try:
            await connection.execute(_NOTIFY, CHANNEL, list(messages(list(notices))))
        except BaseException:
            self._unsent = notices | self._unsent
            self._something.set()
            raise
        if not self._unsent:
            self._idle.set()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """An asyncpg connection that listens."""
        database = PostgresConnections(self._url, connections=1, writes=True, lock_wait=LOCK_WAIT)
        try:
            async with database.driver() as connection:
                own = connection.get_server_pid()

                def hear(_connection: object, sender: int, _channel: str, message: str) -> None:
                    if sender != own:  # one's own are heard already
                        self._hear(notices_in(message))

                # When it breaks, the next statement is sent at once, and fails.
                connection.add_termination_listener(lambda _connection: self._something.set())
                await connection.add_listener(CHANNEL, hear)
                yield connection
        finally:
            await database.close()


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
