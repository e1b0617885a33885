"""What a process needs to run executions, opened once and shared by all of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeVar

import anyio

from blocks import Keyring, PrefectCredentials, use_keyring
from connectors.kit.call import Services
from connectors.kit.http_client import new_client
from flows.engine.meter import Meter, Unmetered
from flows.expressions import render_template
from flows.history import HistoryStore, Limits, open_store
from foundation.clock import Clock, SystemClock
from foundation.errors import IpaasError, StorageUnavailable
from foundation.masking import process_masker
from foundation.owner import this_process
from foundation.settings import Settings
from foundation.tracing import set_up_tracing

logger = logging.getLogger("ipaas.runtime")

T = TypeVar("T")

LEASE = timedelta(seconds=30)
"""How long an execution stays its process's own without a sign of life; then another one may take it over."""
RENEW_SECONDS = 10.0
WATCH_SECONDS = 1.0
"""How often the history is asked whether someone cancelled what runs here: Prefect may be away."""


@dataclass
class RunningExecution:
    """One execution that runs in this process. `stop` says why its task is cancelled, if it is."""

    execution_id: str
    flow_run_id: str | None
    task: asyncio.Task[Any] | None = None
    stop: Literal["cancel", "hand back", "lost"] | None = None
    cancelled_by: dict[str, str] = field(default_factory=dict)

    def end(self, stop: Literal["cancel", "hand back", "lost"]) -> bool:
        """Cancels its task; False when that has ended, or is being stopped already."""
        if self.stop or self.task is None or self.task.done():
            return False
        self.stop = stop
        self.task.cancel()
        return True


class Runtime:
    """The store, the services and the executions of this process. Entered before the first execution runs."""

    def __init__(self, *, store: HistoryStore, services: Services, clock: Clock) -> None:
        self.store, self.services, self.clock = store, services, clock
        self.owner = this_process()
        self.running: dict[str, RunningExecution] = {}
        self.meter: Meter = Unmetered()

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator[Runtime]:
        """A runtime on the settings' database, keys and connectors.

        Raises:
            ConfigurationError: the keys, the database's schema, or traces that can't be sent.
            StorageUnavailable: the database does not answer.
        """
        set_up_tracing()
        clock, masker = SystemClock(), process_masker
        use_keyring(Keyring.from_settings(settings))
        store = open_store(settings.database, clock, Limits(settings.max_inline_bytes, settings.max_output_bytes))
        async with new_client(egress_allow=settings.egress_allow) as http:
            await store.open()
            services = Services(
                http=http,
                credentials=PrefectCredentials(masker=masker, clock=clock),
                clock=clock,
                masker=masker,
                render=render_template,
                connectors=settings.connectors,
            )
            runtime = cls(store=store, services=services, clock=clock)
            try:
                async with runtime:
                    yield runtime
            finally:
                await store.close()

    async def __aenter__(self) -> Runtime:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watching

    async def _watch(self) -> None:
        """Keeps the leases of what runs here, and stops what someone cancelled or another process took over."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                if loop.time() - renewed >= RENEW_SECONDS:
                    await self.renew_leases()
                    renewed = loop.time()
                await self.honour_cancels()
            except IpaasError as error:
                logger.warning("could not look after the running executions: %s", error)
            except Exception:  # were this to end, whatever runs here would be taken for dead, and run elsewhere too
                logger.exception("could not look after the running executions")

    async def renew_leases(self) -> None:
        """Renews the leases of what runs here; what another process took over meanwhile is stopped, unrecorded."""
        mine = list(self.running.values())
        if not mine:
            return
        ids = [running.execution_id for running in mine]
        held = set(await self.store.renew(ids, owner=self.owner, until=self.clock.now() + LEASE))
        for running in mine:
            if running.execution_id not in held and running.end("lost"):
                logger.warning("execution %s is no longer this process's: it is stopped here", running.execution_id)

    async def honour_cancels(self) -> None:
        """Cancels what runs here and has a cancel noted in the history."""
        if not self.running:
            return
        for execution_id, request in (await self.store.cancel_requests(list(self.running))).items():
            if running := self.running.get(execution_id):
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

    async def insist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Writes what would have to be done again if it got lost; tries for as long as a lease lasts.

        Raises:
            StorageUnavailable: the history did not answer in all that time.
        """
        until = self.clock.now() + LEASE
        while True:
            try:
                return await write()
            except StorageUnavailable as error:
                if self.clock.now() >= until:
                    raise
                logger.warning("could not write to the history, trying again: %s", error)
            await self.clock.sleep(WATCH_SECONDS)

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


_Opened = tuple[asyncio.AbstractEventLoop, Runtime]

_opened: _Opened | None = None
_opened_here: ContextVar[_Opened | None] = ContextVar("_opened_here", default=None)
"""The runtime of one execution in a script; others that run at the same time have theirs."""


@contextlib.contextmanager
def use_runtime(runtime: Runtime) -> Any:
    """Makes `runtime` the one that executions of this process run in."""
    global _opened
    before, _opened = _opened, (asyncio.get_running_loop(), runtime)
    try:
        yield
    finally:
        _opened = before


@asynccontextmanager
async def current_runtime() -> AsyncIterator[Runtime]:
    """The process's runtime; else (a stock Prefect worker, a script) one from the environment for this execution."""
    loop = asyncio.get_running_loop()
    for opened in (_opened_here.get(), _opened):
        if opened and opened[0] is loop:
            yield opened[1]
            return
    async with Runtime.open(Settings()) as runtime:
        token = _opened_here.set((loop, runtime))
        try:
            yield runtime
        finally:
            _opened_here.reset(token)
