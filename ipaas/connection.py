"""Connections of a command to the platform: its history and its Prefect.

Prefect is imported by who connects to it: a command that reads the history has no need of it, nor the second it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from flows.history import HistoryStore, Limits, open_store
from foundation.errors import ConfigurationError, StorageUnavailable
from foundation.settings import Settings

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

logger = logging.getLogger("ipaas.connection")

SAY_AGAIN_SECONDS = 30.0
START_SECONDS = 20.0


@asynccontextmanager
async def history(settings: Settings) -> AsyncIterator[HistoryStore]:
    """Raises ConfigurationError, StorageUnavailable."""
    limits = Limits(settings.max_inline_bytes, settings.max_output_bytes)
    store = open_store(settings.database, limits=limits, ui_url=settings.prefect_ui_url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def history_if_any(settings: Settings) -> AsyncIterator[HistoryStore | None]:
    """The history; None when there is none yet, or it does not answer."""
    async with AsyncExitStack() as opened:
        store = None
        with contextlib.suppress(ConfigurationError, StorageUnavailable):
            store = await opened.enter_async_context(history(settings))
        yield store


@asynccontextmanager
async def prefect() -> AsyncIterator[PrefectClient]:
    """A client of the platform's Prefect. Raises ConfigurationError when none answers, or something else does."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        raise ConfigurationError(
            "no Prefect server is known: start the platform with `ipaas up`, or set PREFECT_API_URL"
        )
    async with get_client() as client:
        try:
            version = await client.api_version()
        except httpx.HTTPError as error:
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
            if status == 404:
                raise _not_prefect(url) from None
            if status == 401:
                raise ConfigurationError(
                    f"Prefect's API at {url} wants another password: set IPAAS_PREFECT_AUTH to its user:password"
                ) from None
            if status == 403:
                raise ConfigurationError(
                    f"Prefect's server does not answer as {url}: name that host in its IPAAS_PREFECT_HOSTS"
                ) from None
            why = status or type(error).__name__
            raise ConfigurationError(
                f"Prefect's API at {url} does not answer ({why}): is `ipaas up` running?"
            ) from None
        except ValueError:
            version = None
        if not isinstance(version, str):
            raise _not_prefect(url)
        yield client


async def prefect_answers() -> None:
    """Returns once Prefect's API answers, however long that takes; says now and then that it does not."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    said = time.monotonic() - SAY_AGAIN_SECONDS + START_SECONDS  # its server may be starting, too
    async with get_client() as client:
        while error := await _healthcheck(client):
            if time.monotonic() - said > SAY_AGAIN_SECONDS:
                said = time.monotonic()
                logger.warning("waiting for Prefect's API at %s: %s", PREFECT_API_URL.value(), type(error).__name__)
            await asyncio.sleep(0.1)


async def _healthcheck(client: PrefectClient) -> Exception | None:
    try:
        async with asyncio.timeout(5):
            return await client.api_healthcheck()
    except TimeoutError as error:
        return error


def _not_prefect(url: str) -> ConfigurationError:
    return ConfigurationError(f"what answers at {url} is not Prefect's API; its URL ends in /api")
