"""What a process needs to run executions, shared by all of them, and how it looks after those that run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio

from connectors.kit.call import Services
from flows.engine.callbacks import Callbacks, ProcessSigner
from flows.engine.journal import LEASE_SECONDS
from flows.engine.meter import Meter, Unmetered
from flows.engine.outside import HistoryOutside, Outside
from flows.history import Execution, HistoryStore, Hold, Topic
from foundation.clock import Clock
from foundation.errors import IpaasError
from foundation.owner import this_process

logger = logging.getLogger("ipaas.runtime")

BEAT_SECONDS = 1.0
"""How often leases are renewed, which also tells what someone cancelled: Prefect may be away."""
SLOW_SECONDS = 5.0
"""A renewal that takes longer, or comes later, is a sign that this process can't judge others by their leases."""

Stop = Literal["cancel", "hand back", "lost"]


@dataclass
class RunningExecution:
    """One execution that runs in this process. `stop` says why its task is cancelled, if it is."""

    hold: Hold
    flow_run_id: str | None
    task: asyncio.Task[Any] | None = None
    stop: Stop | None = None
    cancelled_by: dict[str, str] = field(default_factory=dict)

    def end(self, stop: Stop) -> bool:
        """Cancels its task; False when that has ended, or is being stopped already."""
        if self.stop or self.task is None or self.task.done():
            return False
        self.stop = stop
        self.task.cancel()
        return True

    def lost(self) -> None:
        """It is another process's now."""
        if self.end("lost"):
            logger.warning(
                "execution %s is no longer this process's: it is stopped here, unrecorded", self.hold.execution_id
            )


class Runtime:
    """The store, the services and the executions of this process. Entered before the first execution runs.

    Attributes:
        running: by execution id.
        outside: what an execution reaches others by.
        more_may_start: called when an execution stops running here, or another one is accepted or woken.
    """

    def __init__(
        self, *, store: HistoryStore, services: Services, clock: Clock, callbacks: Callbacks | None = None
    ) -> None:
        self.store, self.services, self.clock = store, services, clock
        self.callbacks = callbacks or Callbacks(ProcessSigner())
        self.outside: Callable[[Runtime, Execution], Outside] = HistoryOutside
        self.owner = this_process()
        self.running: dict[str, RunningExecution] = {}
        self.meter: Meter = Unmetered()
        self.more_may_start: Callable[[], None] = lambda: store.announce(Topic.ACCEPTED)
        self._healthy_since = self._beaten = 0.0

    async def __aenter__(self) -> Runtime:
        self._healthy_since = self._beaten = asyncio.get_running_loop().time()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watching

    @property
    def healthy_seconds(self) -> float:
        """For how long the history has answered this process promptly, without a gap.

        A process that was stopped, or could not reach the database, must not take the others for dead.
        """
        now = asyncio.get_running_loop().time()
        return 0.0 if now - self._beaten > SLOW_SECONDS else now - self._healthy_since

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                while not await self._beat():
                    await asyncio.sleep(0)
            except IpaasError as error:
                self._healthy_since = asyncio.get_running_loop().time()
                logger.warning("could not look after the running executions: %s", error)
            except Exception:  # were this to end, whatever runs here would be taken for dead, and run elsewhere too
                logger.exception("could not look after the running executions")

    async def _beat(self) -> bool:
        """Looks after what runs here; False when that took so long that it should be done again at once."""
        now = asyncio.get_running_loop().time
        begun = now()
        await self.look_after()
        ended = now()
        if ended - self._beaten > SLOW_SECONDS:
            self._healthy_since = ended
        self._beaten = ended
        return ended - begun <= SLOW_SECONDS

    async def look_after(self) -> None:
        """Renews the leases of what runs here, and stops what someone cancelled or another process took over."""
        mine = [running for running in self.running.values() if running.stop is None]
        if not mine:
            await self.store.ping()
            return
        held = await self.store.renew([running.hold for running in mine], lease=LEASE_SECONDS)
        for running in mine:
            if running.hold.execution_id not in held:
                running.lost()
            elif request := held[running.hold.execution_id]:
                self._cancel(running, request)

    def _cancel(self, running: RunningExecution, request: dict[str, str]) -> bool:
        if not running.end("cancel"):
            return False
        running.cancelled_by = request
        return True

    def cancel(self, *, flow_run_id: str, by: str, reason: str) -> bool:
        """Cancels the execution of a flow run; False when it does not run here."""
        for running in self.running.values():
            if running.flow_run_id == flow_run_id:
                return self._cancel(running, {"by": by, "reason": reason})
        return False

    async def drain(self, seconds: float) -> None:
        """Waits for the running executions, and hands back those that are not finished by then."""
        with anyio.move_on_after(seconds):
            while self.running:
                await asyncio.sleep(0.05)
        for running in list(self.running.values()):
            running.end("hand back")
        with anyio.move_on_after(5):
            while self.running:
                await asyncio.sleep(0.05)
