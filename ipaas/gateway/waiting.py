"""Callers that wait for their execution's end (`respond: {when: finished}`): one query serves all that it concerns.

Executions end in another process, which gives notice of it. A notice may get lost, so all are looked at now and then.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection

from flows.history import Execution, HistoryStore, Topic
from foundation.errors import IpaasError

logger = logging.getLogger("ipaas.gateway")

POLL_SECONDS = 1.0
"""How often all who wait are looked at, for ends that no notice came of."""
OUTAGE_SECONDS = 1.0


class Waiting:
    def __init__(self, store: HistoryStore) -> None:
        self._store = store
        self._waiters: dict[str, list[asyncio.Future[Execution | None]]] = defaultdict(list)
        self._someone = asyncio.Event()
        self._to_look_at: set[str] = set()
        """Waited for, and perhaps ended."""
        self._something = asyncio.Event()
        """There is something to look at."""

    async def run(self) -> None:
        """Answers waiters until cancelled."""
        async with self._store.listening(Topic.ENDED, self._on_ended):
            while True:
                await self._someone.wait()
                await self._look(await self._next())
                if not self._waiters:
                    self._someone.clear()

    async def wait(self, execution_id: str, seconds: float) -> Execution | None:
        """The execution once it has ended (without event and steps); None if it has not in time."""
        future: asyncio.Future[Execution | None] = asyncio.get_running_loop().create_future()
        self._waiters[execution_id].append(future)
        self._someone.set()
        self._on_ended(execution_id)  # it may have, before anybody here waited for it
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

    def _on_ended(self, execution_id: str) -> None:
        """An execution has ended, or, without an id, some may have."""
        ended = self._waiters.keys() if not execution_id else self._waiters.keys() & {execution_id}
        if ended:
            self._to_look_at |= ended
            self._something.set()

    async def _next(self) -> Collection[str]:
        """Whose ends are to be looked for now."""
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._something.wait()
        except TimeoutError:
            return list(self._waiters)
        self._something.clear()
        noticed, self._to_look_at = self._to_look_at, set()
        return noticed & self._waiters.keys()

    async def _look(self, execution_ids: Collection[str]) -> None:
        if not execution_ids:
            return
        try:
            finished = await self._store.finished(list(execution_ids))
        except IpaasError as error:
            logger.warning("could not look for finished executions: %s", error)
            await asyncio.sleep(OUTAGE_SECONDS)
            self._on_ended("")
        else:
            for execution_id, execution in finished.items():
                self._answer(execution_id, execution)

    def _answer(self, execution_id: str, execution: Execution | None) -> None:
        for future in self._waiters.pop(execution_id, ()):
            if not future.done():
                future.set_result(execution)
