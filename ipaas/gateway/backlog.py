"""Backpressure: how much may wait before senders are asked to come later."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping

from blocks.errors import IpaasError
from flows.history import HistoryStore
from ipaas.gateway.problems import Problem

logger = logging.getLogger("ipaas.gateway")

COUNT_SECONDS = 0.5


class Backlog:
    """Counts accepted executions that have not begun: from the history every so often, and what came since."""

    def __init__(self, store: HistoryStore, limit: int) -> None:
        self._store, self._limit = store, limit
        self.waiting: Mapping[str, int] = {}
        self._since: Counter[str] = Counter()

    async def run(self) -> None:
        while True:
            try:
                await self.count()
            except IpaasError as error:
                logger.warning("could not count the backlog: %s", error)
            await asyncio.sleep(COUNT_SECONDS)

    async def count(self) -> None:
        before = self._since.copy()
        self.waiting = await self._store.backlog()
        self._since -= before

    def add(self, workflow: str) -> None:
        self._since[workflow] += 1

    def check(self, workflow: str) -> None:
        """Raises Problem 429 when the backlog is full."""
        total = sum(self.waiting.values()) + self._since.total()
        if total >= self._limit:
            logger.warning("workflow %s: refused an event, %d executions are waiting already", workflow, total)
            raise Problem(429, f"{total} executions are waiting already", headers={"Retry-After": "5"})
