"""Connections of a command to the platform: its history and its Prefect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_API_URL

from flows.history import HistoryStore, Limits, open_store
from foundation.errors import ConfigurationError
from foundation.settings import Settings


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
    """A client of the platform's Prefect. Raises ConfigurationError when none answers, or something else does."""
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
            why = status or type(error).__name__
            raise ConfigurationError(
                f"Prefect's API at {url} does not answer ({why}): is `ipaas up` running?"
            ) from None
        except ValueError:
            version = None
        if not isinstance(version, str):
            raise _not_prefect(url)
        yield client


def _not_prefect(url: str) -> ConfigurationError:
    return ConfigurationError(f"what answers at {url} is not Prefect's API; its URL ends in /api")
