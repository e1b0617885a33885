"""Real servers for tests: Prefect's, as `ipaas up` starts it, and PostgreSQL databases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass

import httpx
import pytest
from outside_package import with_package
from platform_process import eventually, free_port
from postgres import answering_server, new_database
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_client import prefect_client

from connectors.kit.testing import acting
from flows.engine.runtime import Runtime
from flows.history import MemoryStore
from flows.on_prefect.process import use_runtime
from foundation.clock import SystemClock
from foundation.settings import Settings
from ipaas.platform.environment import server_environment


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


@dataclass(frozen=True)
class PrefectServer:
    url: str
    """Of its API."""
    settings: Settings
    """Its home has its database, its log and the keys that it seals with."""


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """`python -m ipaas.platform.prefect_server` on a free port, with a home of its own."""
    home, port = tmp_path_factory.mktemp("prefect-server"), free_port()
    settings = Settings(_env_file=None, home=home)  # type: ignore[call-arg]
    server = PrefectServer(f"http://127.0.0.1:{port}/api", settings)
    environment = server_environment(settings, host="127.0.0.1", port=port) | {"IPAAS_HOME": str(home)}
    environment = with_package(environment)
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ipaas.platform.prefect_server"], env=environment, stdout=log, stderr=log
        )
    try:
        eventually(lambda: _is_healthy(server.url) or process.poll() is not None, 120, "Prefect's server is up")
        assert process.poll() is None, (home / "server.log").read_text()[-4000:]
        yield server
    finally:
        process.terminate()
        process.wait(30)


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


def _is_healthy(api: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{api}/health", trust_env=False).status_code == 200
    return False
