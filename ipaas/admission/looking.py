"""Looking for what may start: at once when something was accepted or has ended, every second by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import httpx

from flows.history import HistoryStore, Topic
from foundation.errors import IpaasError

TICK_SECONDS: Final = 1.0
"""How often it is looked, for what no notice came of."""
SHORTEST_WAIT_SECONDS: Final = 0.005
MAX_BACKOFF_SECONDS: Final = 5.0


def next_look(due: float | None) -> float:
    """In how many seconds to look again, when admission has something to do by itself in `due`; see `Admitted.due`."""
    return TICK_SECONDS if due is None else min(max(due, SHORTEST_WAIT_SECONDS), TICK_SECONDS)


class Looking:
    """
    Args:
        what: what could not be done when a look fails, for the log.
    """

    def __init__(self, store: HistoryStore, what: str, logger: logging.Logger) -> None:
        self._store, self._what, self._logger = store, what, logger
        self._poke = asyncio.Event()

    def poke(self) -> None:
        """There may be something to see."""
        self._poke.set()

    async def run(self, look: Callable[[], Awaitable[float]]) -> None:
        """Looks until cancelled. `look` says in how many seconds to look again; 0: there is more."""
        async with self._store.listening(Topic.ACCEPTED, lambda _: self.poke()):
            backoff = TICK_SECONDS
            while True:
                self._poke.clear()
                try:
                    seconds = await look()
                except Exception as error:
                    is_away = isinstance(error, (httpx.HTTPError, IpaasError, OSError))
                    again = f"could not {self._what}, trying again in {backoff:g} s: {error}"
                    self._logger.log(logging.WARNING if is_away else logging.ERROR, again, exc_info=not is_away)
                    await asyncio.sleep(backoff)
                    backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)
                else:
                    backoff = TICK_SECONDS
                    await self._wait(seconds)

    async def _wait(self, seconds: float) -> None:
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._poke.wait()
        except TimeoutError:
            return
