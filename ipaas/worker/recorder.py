"""Tells Prefect of express executions, in batches: at once what ended here, and from the history what it was not told.

Prefect may be away, or its database an older one than it was: nothing waits for it, and it is told afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import httpx
from prefect.client.orchestration import PrefectClient

from flows.engine.runtime import Runtime
from flows.history import Execution
from flows.on_prefect.recording import AT_ONCE, Batch, Recorded, RunRecord
from flows.on_prefect.recording.client import record_runs, what_is_recorded
from foundation.errors import IpaasError
from ipaas.admission.shown import hidden_event
from ipaas.worker.noted import from_history

logger = logging.getLogger("ipaas.recorder")

TOGETHER_SECONDS: Final = 0.25
"""How long what ended waits for more, to be told with that."""
KEPT: Final = 5 * AT_ONCE
"""How many wait to be told, with their log lines; of more the history tells later, without them."""
LOOK_SECONDS: Final = 10.0
"""How often it is seen whether Prefect was told of everything."""
SETTLED: Final = timedelta(seconds=10)
"""How long ago what the history tells of has ended: whoever ran it tells more."""
MAX_BACKOFF_SECONDS: Final = 10.0


class Recorder:
    """One per worker.

    Attributes:
        is_possible: False when Prefect's server is not ours and has no way to be told.
    """

    def __init__(self, client: PrefectClient, runtime: Runtime, on_changed: Callable[[], None] = lambda: None) -> None:
        self._client, self._store, self._clock = client, runtime.store, runtime.clock
        self._on_changed = on_changed
        self._waiting: deque[RunRecord] = deque()
        self._poke = asyncio.Event()
        self._is_behind = True
        """There may be executions in the history that Prefect was not told of."""
        self._looked_at = 0.0
        self.is_possible = True

    def tell(self, record: RunRecord) -> None:
        """Prefect is told soon."""
        if len(self._waiting) >= KEPT:
            self._is_behind = True
            return
        self._waiting.append(record)
        self._poke.set()

    async def run(self) -> None:
        """Tells Prefect until cancelled."""
        backoff = TOGETHER_SECONDS
        while True:
            try:
                await self._look()
                if self.is_possible:
                    await self._tell_what_ended()
                    await self._catch_up()
                backoff = TOGETHER_SECONDS
            except (httpx.HTTPError, IpaasError, OSError, ValueError) as error:
                logger.warning("could not tell Prefect of runs, trying again in %g s: %s", backoff, error)
                self._is_behind = True
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)
            else:
                await self._wait()

    async def flush(self, seconds: float) -> None:
        """Returns when nothing waits to be told, or the time is over."""
        try:
            async with asyncio.timeout(seconds):
                while self._waiting:
                    await asyncio.sleep(TOGETHER_SECONDS / 5)
        except TimeoutError:
            logger.info("Prefect is told of %d runs after the next start", len(self._waiting))

    async def _wait(self) -> None:
        """For something to tell, and then a moment for more; when there is enough already, for nothing."""
        if self.is_possible and (self._is_behind or len(self._waiting) >= AT_ONCE):
            return
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._poke.wait()
        except TimeoutError:
            return
        if len(self._waiting) < AT_ONCE:
            await asyncio.sleep(TOGETHER_SECONDS)

    async def _look(self) -> None:
        """Whether Prefect can be told, and knows what it was told before."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at < LOOK_SECONDS and self._looked_at:
            return
        last = await self._store.last_recorded()
        known = await what_is_recorded(self._client)
        if self.is_possible != (known is not None):
            self.is_possible = known is not None
            how = "can be told of express runs" if known else "is not ours: express workflows run standard"
            logger.warning("Prefect's server %s", how)
            self._on_changed()
        if known and last and (known.before is None or known.before < last):
            logger.warning("Prefect's database is older than what it was told: it is told again from %s", known.before)
            while await self._store.forget_recorded(after=known.before, limit=1_000):
                pass
        self._looked_at, self._is_behind = now, True

    async def _tell_what_ended(self) -> None:
        self._poke.clear()
        while self._waiting:
            records = [self._waiting[index] for index in range(min(AT_ONCE, len(self._waiting)))]
            await self._record(records)
            for _ in records:
                self._waiting.popleft()
            if len(self._waiting) < AT_ONCE:
                return

    async def _catch_up(self) -> None:
        """One batch from the history; then Prefect has as long for itself as that took."""
        if not self._is_behind:
            return
        begun = asyncio.get_running_loop().time()
        before = self._clock.now() - SETTLED
        found = [one for one in await self._store.unrecorded(limit=AT_ONCE) if _ended_before(one, before)]
        if found:
            await self._record([from_history(one) for one in found])
            await asyncio.sleep(asyncio.get_running_loop().time() - begun)
        self._is_behind = len(found) == AT_ONCE

    async def _record(self, records: Sequence[RunRecord]) -> None:
        at = self._clock.now()
        answer = await self._send(Batch(at=at, runs=tuple(records)))
        told = {*answer.recorded, *await self._without_events(records, answer)}
        ended = [str(one.id) for one in records if one.ended and one.id in told]
        if ended:
            await self._store.note_recorded(ended, at=at)

    async def _without_events(self, records: Sequence[RunRecord], answer: Recorded) -> Sequence[object]:
        """Those that were refused, told of without what the outside has put in. What can't be told even so is done."""
        refused = [one for one in records if one.id in answer.refused]
        for one in refused:
            reason = answer.refused[one.id]
            bare = one.model_copy(update={"parameters": {"event": hidden_event(one.created, reason)}, "logs": ()})
            again = await self._send(Batch(at=self._clock.now(), runs=(bare,)))
            if again.refused:
                logger.error("run %s is not shown in Prefect: %s", one.id, again.refused[one.id])
        return [one.id for one in refused]

    async def _send(self, batch: Batch) -> Recorded:
        """In halves, when it is too large or one run in it has no form in JSON."""
        try:
            return await record_runs(self._client, batch)
        except (httpx.HTTPStatusError, ValueError) as error:
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 422
            if status not in (413, 422):
                raise
            if len(batch.runs) == 1:
                return Recorded(refused={batch.runs[0].id: str(error)})
        middle = len(batch.runs) // 2
        first, second = [
            await self._send(batch.model_copy(update={"runs": runs}))
            for runs in (batch.runs[:middle], batch.runs[middle:])
        ]
        return Recorded(recorded=first.recorded + second.recorded, refused=first.refused | second.refused)


def _ended_before(execution: Execution, at: datetime) -> bool:
    return execution.finished_at is not None and execution.finished_at < at
