"""Prefect's own server and UI: the stock application, with two guards before it, immediate SQLite transactions, and a
route that records runs in bulk.

Run as a process of its own, `python -m ipaas.platform.prefect_server`, because Prefect reads its settings when it is
imported.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import (
    PREFECT_API_DATABASE_CONNECTION_URL,
    PREFECT_SERVER_API_AUTH_STRING,
    PREFECT_SERVER_API_HOST,
    PREFECT_SERVER_API_PORT,
)

from blocks import Keyring
from flows.on_prefect.deployment import work_pool
from flows.on_prefect.internals import use_immediate_transactions, write_events_once
from flows.on_prefect.recording.route import add_recording
from foundation.garbage import search_garbage_seldom
from foundation.private_files import keep_files_private
from foundation.settings import Settings
from ipaas.platform.environment import prefect_hosts
from ipaas.platform.own_site import OwnSiteOnly
from ipaas.platform.prefect_database import create_new_database
from ipaas.platform.sealing import SealSecrets


def _lifespan(app: Any) -> Callable[[Any], AbstractAsyncContextManager[Any]]:
    """The application's, which also makes the work pool, so that `prefect deploy` finds it on a new server."""
    lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def ours(scope: Any) -> AsyncIterator[Any]:
        async with lifespan(scope) as state:
            # A task of its own: Prefect counts the lifespan as one of the requests in hand, one a task.
            await asyncio.create_task(_make_work_pool(app))
            search_garbage_seldom()
            yield state

    return ours


async def _make_work_pool(app: Any) -> None:
    """Asks the stock application itself, behind the guards."""
    user, _, password = (PREFECT_SERVER_API_AUTH_STRING.value() or "").partition(":")
    auth = (user, password) if user else None
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://prefect/api", auth=auth, trust_env=False
    ) as client:
        answer = await client.post("/work_pools/", json=work_pool().model_dump(mode="json"))
    if answer.status_code != httpx.codes.CONFLICT:  # it is there already
        answer.raise_for_status()


def main() -> None:
    """Runs the server until it is told to stop. The environment is already `environment.server_environment`'s."""
    keep_files_private()
    settings = Settings()
    keyring = Keyring.from_settings(settings)
    url = str(PREFECT_API_DATABASE_CONNECTION_URL.value())
    create_new_database(url)
    if url.startswith("sqlite"):
        use_immediate_transactions(url)
        write_events_once()
    stock: Any = create_app(final=True)
    add_recording(stock)
    stock.router.lifespan_context = _lifespan(stock)
    host, port = PREFECT_SERVER_API_HOST.value(), PREFECT_SERVER_API_PORT.value()
    uvicorn.run(
        OwnSiteOnly(SealSecrets(stock, keyring), prefect_hosts(settings, host=host, port=port)),
        host=host,
        port=port,
        log_level="warning",
        timeout_keep_alive=60,
        timeout_graceful_shutdown=5,
        server_header=False,
    )


if __name__ == "__main__":
    main()
