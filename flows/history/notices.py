"""Notices: processes that share a history wake each other. They tell of what is in the history already.

A notice may come late, twice or not at all, so whoever waits for one looks into the history by itself, too, every so
often. What announces is never slowed down by who listens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum

logger = logging.getLogger("ipaas.notices")

LONGEST_TEXT = 200
MESSAGE_CHARACTERS = 7_000
"""PostgreSQL takes less than 8000 bytes (https://www.postgresql.org/docs/current/sql-notify.html); all is ASCII."""


class Topic(StrEnum):
    ACCEPTED = "accepted"
    """Something may start: it was accepted, or woken, or a slot is free."""
    ENDED = "ended"
    """An execution has ended; the text is its id. Told of those whose senders may wait for the end."""


Notice = tuple[Topic, str]
Callback = Callable[[str], None]


class LocalNotices:
    """Notices within one process. What reaches other processes, too, adds `_send` and `_listen`."""

    def __init__(self) -> None:
        self._callbacks: dict[Topic, list[Callback]] = {topic: [] for topic in Topic}
        self._announced: dict[Notice, None] = {}

    def announce(self, topic: Topic, text: str = "") -> None:
        """As in `interfaces.Notices`. What is announced in one turn of the event loop goes out together."""
        if not self._announced:
            asyncio.get_running_loop().call_soon(self._deliver)
        self._announced[topic, text if _fits(text) else ""] = None

    @asynccontextmanager
    async def listening(self, topic: Topic, callback: Callback) -> AsyncIterator[None]:
        """As in `interfaces.Notices`."""
        await self._listen()
        self._callbacks[topic].append(callback)
        try:
            yield
        finally:
            self._callbacks[topic].remove(callback)

    async def close(self) -> None:
        """Sends what was announced, if that does not take long."""
        self._deliver()

    def _deliver(self) -> None:
        notices, self._announced = list(self._announced), {}
        if notices:
            self._hear(notices)
            self._send(notices)

    def _hear(self, notices: Sequence[Notice]) -> None:
        for topic, text in notices:
            for callback in tuple(self._callbacks[topic]):
                try:
                    callback(text)
                except Exception:
                    logger.exception("a notice of what was %s could not be followed", topic)

    def _send(self, notices: Sequence[Notice]) -> None:
        """Sends them to the other processes. Neither blocks nor raises."""

    async def _listen(self) -> None:
        """Hears from now on what other processes announce, if that can be. Called again, it changes nothing."""


_TOPICS = frozenset(Topic)
EVERYTHING: Sequence[Notice] = [(topic, "") for topic in Topic]
"""What is heard where notices may have been missed."""


def messages(notices: Sequence[Notice]) -> Iterator[str]:
    """What is sent: a notice a line, in as few messages as hold them."""
    lines: list[str] = []
    length = 0
    for topic, text in notices:
        line = f"{topic} {text}"
        if length + len(line) + 1 > MESSAGE_CHARACTERS:
            yield "\n".join(lines)
            lines, length = [], 0
        lines.append(line)
        length += len(line) + 1
    if lines:
        yield "\n".join(lines)


def notices_in(message: str) -> list[Notice]:
    """The notices of a message, but for topics that another version may have."""
    pairs = [line.partition(" ") for line in message.split("\n")]
    return [(Topic(topic), text) for topic, _, text in pairs if topic in _TOPICS]


def _fits(text: str) -> bool:
    """Ids do. In place of anything else, the listeners look at everything."""
    return len(text) <= LONGEST_TEXT and text.isascii() and text.isprintable()
