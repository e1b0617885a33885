"""Connections of a command to the platform: its history and its Prefect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_API_URL

from blocks.errors import ConfigurationError
from blocks.settings import Settings
from flows.history import HistoryStore, Limits, open_store


@asynccontextmanager
async def history(settings: Settings) -> AsyncIterator[HistoryStore]:
    """Raises ConfigurationError, StorageUnavailable."""
    store = open_store(settings.database, limits=Limits(settings.max_inline_bytes, settings.max_output_bytes))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def prefect() -> AsyncIterator[PrefectClient]:
    """A client of the platform's Prefect. Raises ConfigurationError when none answers."""
    url = PREFECT_API_URL.value()
    if not url:
        raise ConfigurationError(
            "no Prefect server is known: start the platform with `ipaas up`, or set PREFECT_API_URL"
        )
    async with get_client() as client:
        if error := await client.api_healthcheck():
            raise ConfigurationError(
                f"Prefect's API at {url} does not answer ({type(error).__name__}): is `ipaas up` running?"
            )
        yield client
