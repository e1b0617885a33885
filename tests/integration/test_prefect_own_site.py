"""Prefect's real server behind its guard: what a browser sends from another site's page; and with a password."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import prefect as prefect_package
import pytest
import websockets
from platform_process import eventually, free_port
from prefect.client.orchestration import PrefectClient

from foundation.settings import Settings
from ipaas.platform.environment import server_environment

EVIL = "https://evil.example"
AUTH = "ada:s3cret-pass"


@pytest.fixture
async def http(prefect_api: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=prefect_api, trust_env=False, timeout=30) as http:
        yield http


async def test_a_page_of_another_site_changes_nothing(http: httpx.AsyncClient) -> None:
    """What a page can send without asking first: a form's text, which Prefect would take for JSON."""
    body = json.dumps({"name": "made-by-evil"})
    for headers in ({"origin": EVIL}, {"origin": "null"}, {"host": "evil.example:4200"}):
        answer = await http.post("/flows/", content=body, headers={"content-type": "text/plain"} | headers)
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]

    assert (await http.get("/flows/name/made-by-evil")).status_code == 404


async def test_a_preflight_gets_no_permission(http: httpx.AsyncClient) -> None:
    headers = {
        "origin": EVIL,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }

    answer = await http.options("/flows/", headers=headers)

    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_its_own_page_may_ask_and_gets_no_star(http: httpx.AsyncClient, prefect_api: str) -> None:
    own = prefect_api.removesuffix("/api")

    answer = await http.post("/flows/filter", json={}, headers={"origin": own})

    assert answer.status_code == 200
    assert answer.headers.get("access-control-allow-origin") in (None, own)


async def test_a_websocket_of_another_site_is_not_accepted(prefect_api: str) -> None:
    address = prefect_api.replace("http://", "ws://") + "/events/out"

    with pytest.raises(websockets.InvalidStatus) as refusal:
        await websockets.connect(address, origin=websockets.Origin(EVIL), subprotocols=[PREFECT])
    assert refusal.value.response.status_code == 403

    async with websockets.connect(address, subprotocols=[PREFECT]) as socket:
        await socket.send('{"type": "auth", "token": null}')
        assert json.loads(await socket.recv()) == {"type": "auth_success"}


PREFECT = websockets.Subprotocol("prefect")


# With a password


@dataclass(frozen=True)
class Guarded:
    """A server that asks for a password, on every address of this machine."""

    url: str
    home: Path
    began: int
    """When it was started, in nanoseconds."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    home, port = tmp_path_factory.mktemp("guarded"), free_port()
    server = Guarded(f"http://127.0.0.1:{port}", home, time.time_ns())
    settings = Settings(_env_file=None, home=home, prefect_auth=AUTH)  # type: ignore[call-arg]
    environment = server_environment(settings, host="0.0.0.0", port=port) | {"IPAAS_HOME": str(home)}
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ipaas.platform.prefect_server"], env=environment, stdout=log, stderr=log
        )
    try:
        eventually(lambda: answers(f"{server.url}/api/health") or process.poll() is not None, 120, "it is up")
        assert process.poll() is None, (home / "server.log").read_text()[-4000:]
        yield server
    finally:
        process.terminate()
        process.wait(30)
    assert AUTH.partition(":")[2] not in (home / "server.log").read_text()


@pytest.fixture
def guarded(server: Guarded) -> str:
    """Its address."""
    return server.url


def test_the_ui_is_served_from_the_home(server: Guarded) -> None:
    page = httpx.get(server.url, headers={"accept": "text/html"}, follow_redirects=True, trust_env=False)
    assets = re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css))"', page.text)

    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
    assert {httpx.get(server.url + asset, trust_env=False).status_code for asset in assets} == {200}
    assert list((server.home / "prefect" / "ui").glob("*/index.html"))


def test_nothing_is_written_into_the_installed_package(server: Guarded) -> None:
    package = Path(prefect_package.__file__).parent
    files = (file for file in package.rglob("*") if "__pycache__" not in file.parts)
    assert [str(file) for file in files if file.stat().st_ctime_ns > server.began] == []


def test_what_it_writes_is_for_its_owner_only(server: Guarded) -> None:
    pages = server.home / "prefect" / "ui"  # Prefect's own, copied as they are into a folder that is closed
    files = [one for one in server.home.rglob("*") if pages not in one.parents and one.name != "server.log"]
    assert {"prefect.db", "encryption-keys", "ui"} <= {one.name for one in files}
    assert [str(file) for file in files if file.stat().st_mode & 0o077] == []


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def basic(auth: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(auth.encode()).decode()}


def test_nobody_uses_the_api_without_the_password(guarded: str) -> None:
    def status(headers: dict[str, str]) -> int:
        return httpx.post(f"{guarded}/api/flows/filter", json={}, headers=headers, trust_env=False).status_code

    assert [status({}), status(basic("ada:wrong")), status(basic(AUTH))] == [401, 401, 200]
    assert status(basic(AUTH) | {"origin": EVIL}) == 403


def test_the_server_made_its_work_pool_all_the_same(guarded: str) -> None:
    answer = httpx.get(f"{guarded}/api/work_pools/ipaas", headers=basic(AUTH), trust_env=False)

    assert answer.json()["type"] == "ipaas"


def test_the_ui_asks_for_the_password_as_it_does(guarded: str) -> None:
    """Its pages are open, tell the browser to ask, and its first request is the test of what was typed."""
    page = httpx.get(f"{guarded}/", headers={"accept": "text/html"}, follow_redirects=True, trust_env=False)
    settings = httpx.get(f"{guarded}/ui-settings", trust_env=False).json()
    own = {"origin": guarded, "sec-fetch-site": "same-origin"}
    version = httpx.get(f"{guarded}/api/admin/version", headers=basic(AUTH) | own, trust_env=False)
    refused = httpx.get(f"{guarded}/api/admin/version", headers=basic("ada:wrong") | own, trust_env=False)

    assert (page.status_code, settings["auth"], settings["api_url"]) == (200, "BASIC", "/api")
    assert (version.status_code, refused.status_code) == (200, 401)


async def test_websockets_want_the_password_too(guarded: str) -> None:
    address = guarded.replace("http://", "ws://") + "/api/events/out"

    async with websockets.connect(address, subprotocols=[PREFECT]) as socket:
        await socket.send(json.dumps({"type": "auth", "token": "ada:wrong"}))
        with pytest.raises(websockets.ConnectionClosedError) as refusal:
            await socket.recv()
    assert refusal.value.rcvd
    assert refusal.value.rcvd.code == 1008

    async with websockets.connect(address, subprotocols=[PREFECT]) as socket:
        await socket.send(json.dumps({"type": "auth", "token": AUTH}))
        assert json.loads(await socket.recv()) == {"type": "auth_success"}


async def test_prefects_client_gets_in_with_it(guarded: str) -> None:
    async with PrefectClient(f"{guarded}/api", auth_string=AUTH) as client:
        assert (await client.read_work_pool("ipaas")).name == "ipaas"
