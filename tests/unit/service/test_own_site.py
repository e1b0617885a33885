"""Prefect's server answers its own pages and programs; pages of other sites get 403, and nothing is run."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from ipaas.platform.own_site import OwnSiteOnly, is_loopback, own_hosts, own_origins

HERE = "127.0.0.1:4200"
HOSTS = own_hosts("127.0.0.1", 4200, ["Prefect.Example", "tunnel.example:8443"])
ADDRESS = ("127.0.0.1", 4200)
Headers = list[tuple[str, str]]


class Application:
    def __init__(self) -> None:
        self.reached = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached += 1
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})


async def sent(scope: dict[str, Any], headers: Headers, server: Any = ADDRESS) -> tuple[int, list[dict[str, Any]]]:
    """How often the application was reached, and what was answered."""
    application, answers = Application(), list[dict[str, Any]]()

    async def send(message: Any) -> None:
        answers.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    raw = [(name.encode(), value.encode()) for name, value in headers]
    await OwnSiteOnly(application, HOSTS)({"server": server, "headers": raw} | scope, receive, send)
    return application.reached, answers


async def answered(headers: Headers, method: str = "POST", server: Any = ADDRESS) -> int:
    """The status of a request with these headers; only what is accepted has reached the application."""
    reached, [start, _] = await sent({"type": "http", "method": method, "path": "/api/flows/"}, headers, server)
    assert reached == (start["status"] == 200)
    status: int = start["status"]
    return status


@pytest.mark.parametrize(
    "host",
    [
        HERE,
        "localhost:4200",
        "LOCALHOST:4200",
        "[::1]:4200",
        "prefect.example",
        "prefect.example:443",
        "tunnel.example:8443",
    ],
)
async def test_its_own_hosts_are_answered(host: str) -> None:
    assert await answered([("host", host)]) == 200
    assert await answered([("host", host), ("origin", f"http://{host}")]) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:4200",
        "127.0.0.1",
        "127.0.0.1:8080",
        "localhost",
        "127.0.0.1.evil.example:4200",
        "127.0.0.2:4200",
        "user@127.0.0.1:4200",
        "tunnel.example",
        "prefect.example.evil.example",
        "",
    ],
)
async def test_another_host_is_refused(host: str) -> None:
    """A page of evil.example whose name means 127.0.0.1 by now (DNS rebinding) says its own name here."""
    assert await answered([("host", host)]) == 403
    assert await answered([("host", host)], "GET") == 403


async def test_without_one_host_there_is_no_telling() -> None:
    assert await answered([]) == 403
    assert await answered([("host", HERE), ("host", "evil.example")]) == 403


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://127.0.0.1:8080",
        "http://localhost:3000",
        "null",
        "",
        "file://",
        "http://127.0.0.1:4200.evil.example",
        "chrome-extension://127.0.0.1:4200",
        HERE,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE", "OPTIONS"])
async def test_another_origin_is_refused_preflights_included(origin: str, method: str) -> None:
    assert await answered([("host", HERE), ("origin", origin)], method) == 403


async def test_an_origin_that_is_sent_twice_is_refused() -> None:
    assert await answered([("host", HERE), ("origin", f"http://{HERE}"), ("origin", "https://evil.example")]) == 403


LINK = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]
FRAME = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]
PICTURE = [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")]


@pytest.mark.parametrize(
    ("site", "how", "method", "status"),
    [
        ("cross-site", LINK, "GET", 200),
        ("same-site", LINK, "GET", 200),
        ("cross-site", LINK, "POST", 403),
        ("cross-site", FRAME, "GET", 403),
        ("cross-site", PICTURE, "GET", 403),
        ("same-site", PICTURE, "GET", 403),
        ("same-origin", PICTURE, "GET", 200),
        ("same-origin", FRAME, "POST", 200),
        ("none", LINK, "GET", 200),
    ],
)
async def test_without_an_origin_another_page_may_only_link_here(
    site: str, how: Headers, method: str, status: int
) -> None:
    assert await answered([("host", HERE), ("sec-fetch-site", site), *how], method) == status


async def test_a_page_under_another_of_its_names_may_ask() -> None:
    headers = [("host", HERE), ("origin", "https://prefect.example"), ("sec-fetch-site", "cross-site")]
    assert await answered(headers) == 200


async def test_the_address_that_a_request_came_in_at_is_its_own() -> None:
    """It listens on every address; a name that leads here could be anybody's."""
    assert await answered([("host", "10.0.0.7:4200")], server=("10.0.0.7", 4200)) == 200
    assert await answered([("host", "[fd00::7]:4200")], server=("fd00::7", 4200)) == 200
    assert await answered([("host", "10.0.0.8:4200")], server=("10.0.0.7", 4200)) == 403


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ([("host", HERE)], True),
        ([("host", HERE), ("origin", f"http://{HERE}")], True),
        ([("host", HERE), ("origin", "https://evil.example")], False),
        ([("host", "evil.example:4200"), ("origin", "http://evil.example:4200")], False),
    ],
)
async def test_a_websocket_is_treated_alike(headers: Headers, accepted: bool) -> None:
    reached, [answer] = await sent({"type": "websocket", "path": "/api/events/in"}, headers)

    assert (reached, answer["type"]) == ((1, "websocket.accept") if accepted else (0, "websocket.close"))


async def test_the_refusal_says_what_an_operator_can_do() -> None:
    guard = OwnSiteOnly(Application(), HOSTS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://prefect.internal:4200") as http:
        answer = await http.get("/api/health")

    assert (answer.status_code, "IPAAS_PREFECT_HOSTS" in answer.json()["detail"]) == (403, True)
    assert "access-control-allow-origin" not in answer.headers


async def test_starting_and_stopping_pass() -> None:
    reached, _ = await sent({"type": "lifespan"}, [])
    assert reached == 1


def test_every_address_means_loopback_and_what_is_named() -> None:
    hosts = own_hosts("0.0.0.0", 4200, [], ["https://prefect.example/ui", "http://prefect.internal:4200/api", None])

    assert hosts == {HERE, "localhost:4200", "[::1]:4200", "prefect.example", "prefect.internal:4200"}


def test_one_address_does_not_mean_loopback() -> None:
    assert own_hosts("10.0.0.7", 4200) == {"10.0.0.7:4200"}
    assert own_hosts("fd00::7", 80) == {"[fd00::7]"}


def test_its_origins_are_its_hosts_under_both_schemes() -> None:
    assert own_origins({"a:1"}) == ["http://a:1", "https://a:1"]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("host", False)],
)
def test_loopback_is_told_from_the_rest(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback
