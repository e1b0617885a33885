"""Backpressure: how much may wait before senders are asked to come later."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping

from flows.history import HistoryStore
from foundation.errors import IpaasError
from ipaas.gateway.problems import Problem

logger = logging.getLogger("ipaas.gateway")

COUNT_SECONDS = 0.5


class Backlog:
    """Counts accepted executions that have not begun: from the history every so often, and what came since.

    Args:
        limit: how many may wait in all.
        per_workflow: how many of one workflow; None: no limit of its own.
    """

    def __init__(self, store: HistoryStore, limit: int, per_workflow: int | None = None) -> None:
        self._store, self._limit, self._per_workflow = store, limit, per_workflow
        self._waiting: Mapping[str, int] = {}
        self._since: Counter[str] = Counter()
        self._total = 0

    async def run(self) -> None:
        """Counts again and again until cancelled."""
        while True:
            try:
                await self.count()
            except IpaasError as error:
                logger.warning("could not count the backlog: %s", error)
            await asyncio.sleep(COUNT_SECONDS)

    async def count(self) -> None:
        """Raises StorageUnavailable."""
        before = self._since.copy()
        self._waiting = await self._store.backlog()
        self._since -= before  # what came during the query may be counted twice until the next one
        self._total = sum(self._waiting.values()) + self._since.total()

    def add(self, workflow: str) -> None:
        """One more was accepted."""
        self._since[workflow] += 1
        self._total += 1

    def check(self, workflow: str) -> None:
        """Raises Problem 429 when the backlog is full."""
        if self._total >= self._limit:
            raise _full(f"{self._total} executions are waiting already", "backlog")
        waiting = self._waiting.get(workflow, 0) + self._since[workflow]
        if self._per_workflow is not None and waiting >= self._per_workflow:
            raise _full(f"{waiting} executions of workflow {workflow} are waiting already", "workflow_backlog")


def _full(detail: str, reason: str) -> Problem:
    return Problem(429, detail, reason=reason, headers={"Retry-After": "5"})
