"""Express: what the history admits begins here at once, in the transaction that admits it; Prefect is told of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final

import anyio

from flows.engine.execution import run_begun
from flows.engine.failures import NotRun, error_document
from flows.engine.journal import LEASE_SECONDS
from flows.engine.runtime import Runtime
from flows.history import Execution, Mode, Status
from flows.on_prefect.loader import FlowLoader
from flows.on_prefect.recording import RunRecord
from foundation.errors import IpaasError, StorageUnavailable
from ipaas.admission.looking import TICK_SECONDS, Looking, next_look
from ipaas.worker.noted import NotedRun, from_history
from ipaas.worker.recorder import Recorder

logger = logging.getLogger("ipaas.express")

AT_ONCE: Final = 64
"""How many begin in one transaction."""
MOST_RUNNING: Final = 500
"""How many run at the same time in one worker, of all workflows."""
LIVE_SECONDS: Final = 1.0
"""After how long Prefect is told that a run is under way."""


class Express:
    """One per worker.

    Args:
        modes: of workflows whose executions begin here.
        room: how many more may run in this worker.
        wake: given executions that are admitted and have a run in Prefect, which waits for its turn.
    """

    def __init__(
        self,
        runtime: Runtime,
        recorder: Recorder,
        *,
        modes: Callable[[], Collection[Mode | None]],
        room: Callable[[], float],
        wake: Callable[[Execution], None],
    ) -> None:
        self._runtime, self._store, self._recorder = runtime, runtime.store, recorder
        self._modes, self._room, self._wake = modes, room, wake
        self._loader = FlowLoader(runtime.store)
        self._looking = Looking(self._store, "begin executions", logger)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._noted: dict[str, NotedRun] = {}
        self.draining = False

    @property
    def running(self) -> int:
        return len(self._running)

    def poke(self) -> None:
        """Something may start."""
        self._looking.poke()

    async def run(self) -> None:
        """Begins what may begin until cancelled."""
        await self._looking.run(self._begin)

    async def _begin(self) -> float:
        """Begins what may begin; in how many seconds to look again."""
        modes, limit = self._modes(), int(min(self._room(), MOST_RUNNING - self.running, AT_ONCE))
        if self.draining or not modes or limit <= 0:
            return TICK_SECONDS
        admitted = await self._store.admit_and_begin(
            limit=limit, owner=self._runtime.owner, lease=LEASE_SECONDS, modes=modes
        )
        for execution in admitted:
            if execution.status is Status.RUNNING:
                task = asyncio.create_task(self._execute(execution))
                self._running[execution.id] = task
            else:
                self._wake(execution)
        return 0.0 if len(admitted) == limit else next_look(admitted.due)

    async def _execute(self, execution: Execution) -> None:
        noted = NotedRun(execution, self._runtime.clock, self._runtime.services.masker)
        self._noted[execution.id] = noted
        try:
            flow = await self._loader.of_version(execution.workflow, execution.version)
            outcome = await run_begun(self._runtime, execution, flow.program, invoke=noted)
        except NotRun as error:
            logger.info("execution %s does not run here: %s", execution.id, error)
        except StorageUnavailable as error:
            logger.warning("execution %s goes on when its history answers: %s", execution.id, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            level = logging.WARNING if isinstance(error, IpaasError) else logging.ERROR
            logger.log(level, "execution %s: %s", execution.id, error, exc_info=level == logging.ERROR)
            await self._fail(execution, error)
        else:
            if outcome.status in (Status.FAILED, Status.TIMED_OUT):
                message = (outcome.error or {}).get("message")
                logger.error(
                    "workflow %s: execution %s %s: %s", execution.workflow, execution.id, outcome.status, message
                )
            self._tell(noted, lambda: noted.as_ended(outcome))
        finally:
            del self._running[execution.id], self._noted[execution.id]
            self.poke()

    def _tell(self, noted: NotedRun, record: Callable[[], RunRecord]) -> None:
        """What can't be told as it is, is told from the history."""
        try:
            self._recorder.tell(record())
        except ValueError as error:
            logger.warning("execution %s is told of without its log: %s", noted.execution.id, error)

    async def _fail(self, execution: Execution, error: Exception) -> None:
        """One that can't be run at all: its workflow is missing or does not compile."""
        document = error_document(error)
        message = self._runtime.services.masker.mask(document["message"])
        document = document | {"message": message, "step": None}
        with anyio.CancelScope(shield=True):
            if await self._store.finish(execution.hold, Status.FAILED, error=document):
                self._runtime.more_may_start()
                if ended := await self._store.execution(execution.id):
                    self._recorder.tell(from_history(ended))

    async def tell_of_long_runs(self) -> None:
        """Tells Prefect of what runs for longer than a moment, until cancelled."""
        while True:
            await asyncio.sleep(LIVE_SECONDS / 2)
            now = self._runtime.clock.now()
            for noted in list(self._noted.values()):
                begun_at = noted.execution.begun_at
                if not noted.recorded_live and begun_at and (now - begun_at).total_seconds() > LIVE_SECONDS:
                    noted.recorded_live = True
                    self._tell(noted, noted.as_running)

    async def drain(self, seconds: float) -> None:
        """Begins nothing more, and waits for what runs."""
        self.draining = True
        if self._running:
            await asyncio.wait(self._running.values(), timeout=seconds)

    async def close(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
