"""Callers that wait for their execution's end (`respond: {when: finished}`): one query serves all of them."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

from flows.history import Execution, HistoryStore
from foundation.errors import IpaasError

logger = logging.getLogger("ipaas.gateway")

POLL_SECONDS = 0.03
"""Executions end in another process; the history is where both look."""
OUTAGE_SECONDS = 1.0


class Waiting:
    def __init__(self, store: HistoryStore) -> None:
        self._store = store
        self._waiters: dict[str, list[asyncio.Future[Execution | None]]] = defaultdict(list)
        self._someone = asyncio.Event()

    async def run(self) -> None:
        """Answers waiters until cancelled."""
        while True:
            await self._someone.wait()
            pause = POLL_SECONDS
            try:
                finished = await self._store.finished(list(self._waiters))
            except IpaasError as error:
                logger.warning("could not look for finished executions: %s", error)
                finished, pause = {}, OUTAGE_SECONDS
            for execution_id, execution in finished.items():
                self._answer(execution_id, execution)
            if not self._waiters:
                self._someone.clear()
            await asyncio.sleep(pause)

    async def wait(self, execution_id: str, seconds: float) -> Execution | None:
        """The execution once it has ended (without event and steps); None if it has not in time."""
        future: asyncio.Future[Execution | None] = asyncio.get_running_loop().create_future()
        self._waiters[execution_id].append(future)
        self._someone.set()
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            return None
        finally:
            if future in (waiters := self._waiters.get(execution_id, [])):
                waiters.remove(future)
                if not waiters:
                    del self._waiters[execution_id]

    def give_up(self) -> None:
        """Answers all who wait that it has not ended: the gateway stops."""
        for execution_id in list(self._waiters):
            self._answer(execution_id, None)

    def _answer(self, execution_id: str, execution: Execution | None) -> None:
        for future in self._waiters.pop(execution_id, ()):
            if not future.done():
                future.set_result(execution)
