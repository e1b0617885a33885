"""Being told by Prefect what happens to a work pool's runs, the moment it happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from uuid import UUID

from prefect.events import Event
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter

logger = logging.getLogger("ipaas.worker")

AGAIN_SECONDS = 1.0
LOOK_SECONDS = 2.0
"""How soon it is seen that the pool was deleted and made again: its events are another pool's then."""


class Listener:
    """Listens until cancelled, also through restarts of Prefect's server.

    Args:
        pool: the work pool's id, once it is known.
        on_connected: called whenever it begins to listen: what happened before was missed.
    """

    def __init__(
        self, pool: Callable[[], UUID | None], on_event: Callable[[Event], None], on_connected: Callable[[], None]
    ) -> None:
        self._pool, self._on_event, self._on_connected = pool, on_event, on_connected
        self._is_lost = False

    async def run(self) -> None:
        while True:
            if pool := self._pool():
                await self._listen_while_it_is(pool)
            await asyncio.sleep(AGAIN_SECONDS)

    async def _listen_while_it_is(self, pool: UUID) -> None:
        listening = asyncio.create_task(self._listen(pool))
        try:
            while not listening.done() and self._pool() == pool:
                await asyncio.wait({listening}, timeout=LOOK_SECONDS)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self, pool: UUID) -> None:
        runs_of_pool = EventFilter(
            event=EventNameFilter(prefix=["prefect.flow-run."]),
            any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{pool}"]),
        )
        try:
            async with get_events_subscriber(filter=runs_of_pool, reconnection_attempts=0) as subscriber:
                self._is_lost = False
                self._on_connected()
                async for event in subscriber:
                    self._on_event(event)
        except Exception as error:  # noqa: BLE001 - of three libraries; whatever it is, it listens again
            if not self._is_lost:
                logger.warning("lost Prefect's event stream, polling until it is back: %r", error)
            self._is_lost = True
