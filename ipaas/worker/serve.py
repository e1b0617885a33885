"""Runs the worker until it is told to stop: `ipaas worker`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import anyio

from flows.on_prefect.deployment import WORK_POOL
from foundation.settings import Settings
from ipaas.logs import set_up_logging
from ipaas.platform.up import until_stopped
from ipaas.worker.worker import IpaasWorker


def work(settings: Settings, *, name: str | None, limit: int | None) -> None:
    """Raises ConfigurationError, StorageUnavailable: the worker can't start."""
    set_up_logging(settings)
    worker = IpaasWorker(WORK_POOL, name=name or f"{socket.gethostname()}-{os.getpid()}", limit=limit)
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    asyncio.run(_run(worker))


async def _run(worker: IpaasWorker) -> None:
    """SIGTERM and Ctrl-C let the runs in flight end first."""
    async with anyio.create_task_group() as group:

        async def stop_when_told() -> None:
            await until_stopped()
            await worker.drain()
            group.cancel_scope.cancel()

        group.start_soon(stop_when_told)
        await worker.start(printer=lambda message: None)
        group.cancel_scope.cancel()
