"""The gateway's application over a store in memory, as HTTP clients see it; Prefect is away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from prefect_client import prefect_client
from store_builders import T0

from flows.history import MemoryStore
from foundation.clock import ManualClock
from foundation.settings import Settings
from ipaas.gateway.app import create_app
from ipaas.gateway.backlog import Backlog
from ipaas.gateway.hooks import Hooks


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T0)


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
async def app(tmp_path: Path, store: MemoryStore, clock: ManualClock) -> AsyncIterator[FastAPI]:
    """Without its services: what is accepted stays accepted."""
    app = create_app(Settings(home=tmp_path))
    async with prefect_client() as client:
        app.state.store, app.state.clock, app.state.prefect = store, clock, client
        app.state.hooks = Hooks(store)
        app.state.backlog = Backlog(store, limit=10)
        app.state.full_tokens, app.state.read_tokens = ["full-token"], ["read-token"]
        app.state.ui_url = "http://prefect.test"
        yield app


@pytest.fixture
async def anonymous(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway.test/api") as client:
        yield client


@pytest.fixture
def client(anonymous: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client that may do everything."""
    anonymous.headers["Authorization"] = "Bearer full-token"
    return anonymous
