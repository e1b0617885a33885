"""Real servers for tests: Prefect's, as `ipaas up` starts it, and PostgreSQL databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from postgres import answering_server, new_database
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_client import prefect_client
from prefect_process import PrefectServer, prefect_process

from connectors.kit.testing import acting
from flows.engine.runtime import Runtime
from flows.history import MemoryStore
from flows.on_prefect.process import use_runtime
from foundation.clock import SystemClock


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The URL of a server that answers."""
    return answering_server()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    with new_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def shared_postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a database for many tests, for those who clear it themselves."""
    with new_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """Prefect's server on SQLite."""
    with prefect_process(tmp_path_factory.mktemp("prefect-server")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_prefect_server(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """The same on PostgreSQL."""
    with new_database(postgres_server) as url:
        database = {"PREFECT_API_DATABASE_CONNECTION_URL": url.replace("postgresql://", "postgresql+asyncpg://")}
        with prefect_process(tmp_path_factory.mktemp("postgres-prefect-server"), database) as server:
            yield server


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def either_server(request: pytest.FixtureRequest) -> PrefectServer:
    """Prefect's server on either database."""
    name = "prefect_server" if request.param == "sqlite" else "postgres_prefect_server"
    server: PrefectServer = request.getfixturevalue(name)
    return server


@pytest.fixture(scope="session")
def prefect_api(prefect_server: PrefectServer) -> str:
    """The address of its API."""
    return prefect_server.url


@pytest.fixture
async def prefect(prefect_api: str) -> AsyncIterator[PrefectClient]:
    """Its client."""
    async with prefect_client(prefect_api) as client:
        yield client


@pytest.fixture
def prefect_settings(prefect_api: str) -> Iterator[None]:
    """Prefect in this process works with that server."""
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        yield


@pytest.fixture
async def client(prefect_settings: None) -> AsyncIterator[PrefectClient]:
    """The client that Prefect itself uses, which tries again."""
    async with get_client() as client:
        yield client


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    """A runtime whose requests are all answered with 500."""
    clock = SystemClock()
    async with acting(lambda request: httpx.Response(500)) as stage:
        runtime = Runtime(store=MemoryStore(clock), services=stage.services, clock=clock)
        with use_runtime(runtime):
            yield runtime
