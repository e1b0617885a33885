"""Prefect's own client, for tests: of a server that runs, or of one that is away."""

from __future__ import annotations

import ssl

import httpx
from prefect.client.orchestration import PrefectClient

AWAY = "http://127.0.0.1:9/api"
"""Nothing listens there."""
_TLS = ssl.create_default_context()  # made once: it takes longer than most tests


def prefect_client(api: str = AWAY) -> PrefectClient:
    """To be entered. It connects once: left to itself it tries for 1.5 s when nothing listens."""
    return PrefectClient(api, httpx_settings={"transport": httpx.AsyncHTTPTransport(verify=_TLS), "verify": _TLS})
