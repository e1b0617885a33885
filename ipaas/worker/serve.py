"""Runs the worker until it is told to stop: `ipaas worker`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import anyio

from flows.on_prefect.deployment import WORK_POOL
from foundation.garbage import search_garbage_seldom
from foundation.settings import Settings
from ipaas.connection import prefect_answers
from ipaas.logs import set_up_logging
from ipaas.platform.stopping import StopSignals, end_within
from ipaas.worker.running import DRAIN_SECONDS
from ipaas.worker.worker import IpaasWorker

GOODBYE_SECONDS = 5.0
"""For telling Prefect that this worker is gone, once nothing runs any more; it may not answer."""


def work(settings: Settings, *, name: str | None, limit: int | None) -> None:
    """Raises ConfigurationError, StorageUnavailable: the worker can't start."""
    set_up_logging(settings)
    worker = IpaasWorker(WORK_POOL, name=name or f"{socket.gethostname()}-{os.getpid()}", limit=limit)
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    asyncio.run(_run(worker))


async def _run(worker: IpaasWorker) -> None:
    """SIGTERM and Ctrl-C let the runs in flight end first, for DRAIN_SECONDS; Ctrl-C again ends at once."""
    signals = StopSignals()
    async with anyio.create_task_group() as group:

        async def stop_when_told() -> None:
            await signals.asked.wait()
            end_within(DRAIN_SECONDS + GOODBYE_SECONDS, what="worker")
            group.start_soon(stop_at_once)
            if worker.is_setup:
                await worker.drain()
            end_within(GOODBYE_SECONDS, what="worker")
            group.cancel_scope.cancel()

        async def stop_at_once() -> None:
            await signals.again.wait()
            os._exit(130)

        def on_message(_message: str) -> None:
            """Prefect has one when the worker has started, and one when it has stopped."""
            if worker.is_setup:
                search_garbage_seldom()

        group.start_soon(stop_when_told)
        await prefect_answers()
        await worker.start(printer=on_message)
        group.cancel_scope.cancel()
