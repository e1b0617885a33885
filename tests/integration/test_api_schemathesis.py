"""The management API keeps what its description says, for requests of every kind, on both databases.

The requests are made from `/api/openapi.json`; the gateway runs whole, over HTTP, beside a Prefect that is away.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefect_client import prefect_client
from schemathesis import Case, GenerationMode
from schemathesis.checks import positive_data_acceptance
from schemathesis.specs.openapi.checks import unsupported_method
from store_builders import a_step, a_version, accepted, ended, finish, running, save

from blocks.source import MemoryCredentials
from flows.history import HistoryStore, Status, migrations, open_store
from foundation.clock import SystemClock
from foundation.settings import Settings
from ipaas.gateway.app import Surroundings, create_app

ROUTES = [
    ("GET", "/api/workflows"),
    ("GET", "/api/workflows/{name}"),
    ("POST", "/api/workflows/{name}/activate"),
    ("POST", "/api/workflows/{name}/deactivate"),
    ("POST", "/api/workflows/{name}/executions"),
    ("GET", "/api/executions"),
    ("GET", "/api/executions/{execution_id}"),
    ("POST", "/api/executions/{execution_id}/replay"),
    ("POST", "/api/executions/{execution_id}/cancel"),
]
BOUNDED = settings(
    max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
EXCLUDED = [
    positive_data_acceptance,  # a well-formed request about what is not there is refused
    unsupported_method,  # one request too many for each example; test_api_access has it
]


@dataclass
class Gateway:
    """One that runs in a thread of its own, and the ids of the executions that it began with."""

    url: str
    executions: list[str] = field(default_factory=list)


async def seed(store: HistoryStore) -> list[str]:
    now = SystemClock().now()
    await store.publish(a_version(declaration={"name": "orders", "triggers": []}))
    odd = {"body": {"text": "\ud800 \x00 💥", "number": float("inf")}}
    failed = await running(store, event=odd, accepted_at=now, lease=86_400)
    await save(store, failed, a_step("one", output=odd, started_at=now))
    await save(store, failed, a_step("two", Status.FAILED, error={"code": "remote", "message": "no"}))
    await finish(store, failed, Status.FAILED, error={"code": "remote", "message": "no", "step": "two"})
    return [
        failed,
        await ended(store, accepted_at=now),
        await running(store, accepted_at=now, lease=86_400),
        await accepted(store, accepted_at=now),
    ]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    home = tmp_path_factory.mktemp("home")
    sqlite = f"sqlite:///{home / 'history.db'}"
    url = sqlite if request.param == "sqlite" else request.getfixturevalue("shared_postgres_url")
    asyncio.run(migrations.upgrade(url))
    listening = socket.create_server(("127.0.0.1", 0))
    gateway = Gateway(f"http://127.0.0.1:{listening.getsockname()[1]}")
    app = create_app(Settings(home=home, api_token="full-token"), _surroundings(url, gateway))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)
    yield gateway
    server.should_exit = True
    thread.join()
    listening.close()


def _surroundings(url: str, gateway: Gateway) -> Any:
    @asynccontextmanager
    async def open_(settings: Settings) -> AsyncIterator[Surroundings]:
        clock, store = SystemClock(), open_store(url)
        await store.open()
        gateway.executions = await seed(store)
        async with prefect_client() as client:
            yield Surroundings(store, client, MemoryCredentials({}), clock)
        await store.close()

    return open_


@pytest.fixture(scope="module")
def schema(gateway: Gateway) -> Any:
    return schemathesis.openapi.from_url(f"{gateway.url}/api/openapi.json")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fit", "unfit"])
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_answer_is_as_described(
    gateway: Gateway, schema: Any, method: str, path: str, mode: GenerationMode
) -> None:
    known = {"name": ["orders"], "execution_id": gateway.executions}

    @BOUNDED
    @given(data=st.data(), case=schema[path][method].as_strategy(generation_mode=mode), odd=st.booleans())
    def send(data: st.DataObject, case: Case, odd: bool) -> None:
        if not odd:
            for name in case.path_parameters or {}:
                case.path_parameters[name] = data.draw(st.sampled_from(known[name]))
        case.call_and_validate(headers={"Authorization": "Bearer full-token"}, excluded_checks=EXCLUDED)

    send()
