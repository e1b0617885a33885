"""What every request gets from the shared client."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import httpx
import pytest

from connectors import http
from connectors.kit.answer import retry_after_seconds
from connectors.kit.exchange import MAX_BODY_BYTES
from connectors.kit.http_client import CONNECT_SECONDS, READ_SECONDS, new_client
from connectors.kit.testing import acting, answers
from foundation.errors import ActionError, ConnectionFailed, RemoteError, StepTimeout

NOW = datetime(2026, 1, 1, tzinfo=UTC)
API_KEY = {"key": {"key": "key-1234", "header": "X-Shop-Key"}}
BEARER = {"key": {"token": "key-1234"}}


def redirects(**places: str):
    """Sends a request for each host on to the place given for it; any other host answers 200."""

    def handler(request: httpx.Request) -> httpx.Response:
        place = places.get(request.url.host.partition(".")[0])
        return httpx.Response(307, headers={"location": place}) if place else httpx.Response(200)

    return handler


async def test_the_client_has_our_name_and_time_limits_and_keeps_no_cookies() -> None:
    handler = answers(httpx.Response(200, headers={"set-cookie": "session=1; Path=/"}))
    async with new_client(httpx.MockTransport(handler)) as client:
        assert (client.timeout.connect, client.timeout.read) == (CONNECT_SECONDS, READ_SECONDS) == (5, 30)
        assert client.headers["user-agent"].startswith("prefect-ipaas/")
        await client.get("http://127.0.0.1:9/")
        assert not list(client.cookies.jar)


@pytest.mark.parametrize("credentials", [API_KEY, BEARER])
async def test_a_credential_follows_a_redirect_on_the_same_host_only(credentials) -> None:
    async with acting(redirects(shop="http://other.example/"), credentials) as stage:
        await http.request(url="http://shop.example/", credential="key", headers={"Cookie": "a=b"})
    first, second = stage.requests
    assert "key-1234" in str(first.headers.raw)
    assert "key-1234" not in str(second.headers.raw)
    assert "cookie" not in second.headers

    stay = answers(httpx.Response(302, headers={"location": "/there"}), httpx.Response(200))
    async with acting(stay, credentials) as stage:
        await http.request(url="http://shop.example/", credential="key")
    assert "key-1234" in str(stage.requests[1].headers.raw)


@pytest.mark.parametrize(
    ("start", "to", "kept"),
    [
        ("http://shop.example/", "https://shop.example/", True),
        ("https://shop.example/", "http://shop.example/", False),
        ("http://shop.example:8080/", "http://shop.example:9090/", False),
        ("http://shop.example:8080/", "https://shop.example/", False),
    ],
)
async def test_a_credential_may_only_move_from_http_up_to_https(start, to, kept) -> None:
    handler = answers(httpx.Response(307, headers={"location": to}), httpx.Response(200))
    async with acting(handler, API_KEY) as stage:
        await http.request(url=start, credential="key")
    assert ("x-shop-key" in stage.requests[1].headers) is kept


async def test_redirects_in_a_circle_end() -> None:
    circle = redirects(shop="http://shop.example/")
    async with acting(circle) as stage:
        with pytest.raises(RemoteError, match="redirected more than 5 times"):
            await http.request(url="http://shop.example/")
    assert len(stage.requests) == 6


async def test_an_answer_that_is_too_large_is_refused() -> None:
    async with acting(lambda request: httpx.Response(200, content=b"x" * (MAX_BODY_BYTES + 1))):
        with pytest.raises(ActionError, match="more than 10 MiB"):
            await http.request(url="http://127.0.0.1:9/")
    async with acting(lambda request: httpx.Response(200, content=b"x" * MAX_BODY_BYTES)):
        assert len((await http.request(url="http://127.0.0.1:9/"))["body"]) == MAX_BODY_BYTES


async def test_a_body_in_a_broken_encoding_is_the_other_sides_error() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        broken = httpx.ByteStream(b"not gzip")
        return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=broken)

    async with acting(handler):
        with pytest.raises(RemoteError, match="encoding it declares"):
            await http.request(url="http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(400, json={"message": "m", "error": "e"}), "answered 400: m"),
        (httpx.Response(400, json={"error": {"message": "deep"}}), "answered 400: deep"),
        (httpx.Response(400, json={"error": "invalid", "error_description": "said why"}), "answered 400: said why"),
        (httpx.Response(400, json={"errors": [{"detail": "first"}, {"detail": "second"}]}), "answered 400: first"),
        (httpx.Response(400, text="plain\n text"), "answered 400: plain text"),
        (httpx.Response(400, html="<h1>no</h1>"), "answered 400: Bad Request"),
        (httpx.Response(400, json={}), "answered 400: Bad Request"),
        (httpx.Response(400, json={"message": "x" * 1000}), f"answered 400: {'x' * 300}…"),
    ],
)
async def test_an_error_quotes_the_other_systems_own_message(answer, said) -> None:
    async with acting(answers(answer)):
        with pytest.raises(RemoteError) as error:
            await http.request(url="http://127.0.0.1:9/orders")
    assert str(error.value) == f"GET 127.0.0.1:9 {said}"


@pytest.mark.parametrize(
    "failure", [httpx.Response(500), httpx.ConnectError("no"), httpx.ReadError("no"), httpx.ReadTimeout("no")]
)
async def test_neither_errors_nor_logs_show_more_of_a_url_than_its_host(failure, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    async with acting(answers(failure)):
        with pytest.raises(ActionError) as error:
            await http.request(url="http://user:pass-1@127.0.0.1:9/hook-1?key=value-1")
    shown = caplog.text + str(error.value)
    assert "127.0.0.1" in shown
    assert not any(part in shown for part in ("pass-1", "hook-1", "value-1"))


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (httpx.ConnectTimeout("late"), ConnectionFailed),
        (httpx.PoolTimeout("late"), ConnectionFailed),
        (httpx.ConnectError("refused"), ConnectionFailed),
        (httpx.RemoteProtocolError("hung up"), ConnectionFailed),
        (httpx.ReadTimeout("late"), StepTimeout),
        (httpx.WriteTimeout("late"), StepTimeout),
    ],
)
async def test_a_broken_connection_is_told_from_a_late_answer(raised, kind) -> None:
    async with acting(answers(raised)):
        with pytest.raises(kind) as error:
            await http.request(method="POST", url="http://127.0.0.1:9/")
    assert error.value.retriable


@pytest.mark.parametrize(
    "url", ["ftp://shop.example/", "shop.example", "http://", "http://shop.example:x/", "/path", ""]
)
async def test_what_is_no_web_address_is_refused(url) -> None:
    async with acting() as stage:
        with pytest.raises(ActionError, match="URL") as error:
            await http.request(url=url)
    assert not error.value.retriable
    assert stage.requests == []


@pytest.mark.parametrize(
    "arguments",
    [{"json": {"x": float("nan")}}, {"json": {"x": object()}}, {"headers": {"X": "ü"}}],
)
async def test_a_request_that_cannot_be_built_is_refused(arguments) -> None:
    async with acting() as stage:
        with pytest.raises(ActionError, match="can't be built"):
            await http.request(method="POST", url="http://127.0.0.1:9/", **arguments)
    assert stage.requests == []


async def test_a_timeout_covers_the_whole_answer() -> None:
    connections = []

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        await writer.drain()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with acting() as stage, new_client() as client:
        object.__setattr__(stage.services, "http", client)
        with pytest.raises(StepTimeout, match=f"GET 127.0.0.1:{port} did not answer within 0.2 s"):
            await http.request(url=f"http://127.0.0.1:{port}/", timeout=0.2)
    for writer in connections:
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("0.5", 0.5),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30),
        ("Wed, 31 Dec 2025 23:59:00 GMT", 0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1e", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds) -> None:
    assert retry_after_seconds(httpx.Headers({"retry-after": value}), NOW) == seconds
