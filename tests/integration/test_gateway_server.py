"""The gateway on a real socket: what it bounds, whom it does not let disturb others, how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_under_test import ORDERS, Gateway, application
from prefect_client import AWAY
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from flows.history import MemoryStore, Status, open_store
from flows.history.migrations import upgrade
from flows.on_prefect.compile import yaml_version
from foundation.clock import ManualClock
from ipaas.gateway import budget, protocol, serve
from ipaas.gateway.serve import GatewayServer, make_server

POST = b"POST /hooks/orders HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
WAITING = ORDERS + "respond: {when: finished, on_disconnect: cancel}\n"


@dataclass
class Served(Gateway):
    server: GatewayServer
    port: int
    opened: list[Connection] = field(default_factory=list)

    async def connect(self) -> Connection:
        """A connection that is closed at the end."""
        self.opened.append(Connection(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.opened[-1]

    def ended(self, reason: str) -> float:
        return self.counted("ipaas_connections_refused_total", reason=reason)


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self.writer.write(chunk)
            await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one answer."""
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            return int(status.split()[1]), headers, await self.reader.readexactly(int(headers.get("content-length", 0)))

    async def is_closed(self) -> bool:
        """Waits for the end; False if something else came."""
        async with asyncio.timeout(20):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def serving(*workflows: str, **settings: Any) -> AsyncIterator[Served]:
    clock = ManualClock()
    store = MemoryStore(clock)
    with application(store=store, clock=clock, **settings) as app:
        server = make_server(app.state.settings, app, host="127.0.0.1", port=0)
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            served = Served(app, http, store, clock, server, port)
            for text in workflows or (ORDERS,):
                await served.publish(text)
            yield served
        for connection in served.opened:
            await connection.close()
        server.should_exit = True
        await running


def test_uvicorn_is_as_the_protocol_relies_on():
    callbacks = {"on_message_begin", "on_headers_complete", "on_body", "on_message_complete", "on_response_complete"}
    others = {"connection_made", "connection_lost", "data_received", "shutdown", "send_400_response"}
    # `data_received` is our own: theirs does this much, and takes offers of websockets.
    theirs = inspect.getsource(HttpToolsProtocol.data_received)
    assert "self._unset_keepalive_if_required()" in theirs
    assert "self.parser.feed_data(data)" in theirs
    assert callbacks | others | {"_unset_keepalive_if_required"} <= vars(HttpToolsProtocol).keys()


async def test_an_event_is_accepted_and_the_server_does_not_introduce_itself():
    async with serving() as served:
        answer = await served.post({"a": 1})
    assert answer.status_code == 202
    assert answer.headers["x-request-id"]
    assert "server" not in answer.headers


async def test_requests_on_one_connection_are_answered_in_order_also_when_sent_at_once():
    async with serving() as served:
        connection = await served.connect()
        await connection.send(POST + POST.replace(b"/orders", b"/nowhere") + POST)
        assert [(await connection.answer())[0] for _ in range(3)] == [202, 404, 202]


@pytest.mark.parametrize("sent", [b"", b"POST /hooks/orders HTTP/1.1\r\nHost: g\r\n", b"\r\n"])
async def test_headers_that_do_not_come_end_the_connection(sent, monkeypatch):
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.2)
    async with serving() as served:
        connection = await served.connect()
        await connection.send(sent)
        status, headers, _ = await connection.answer()
        assert (status, headers["connection"]) == (408, "close")
        assert headers["content-type"] == "application/problem+json"
        assert await connection.is_closed()
        assert served.ended("slow") == 1


async def test_headers_that_trickle_end_the_connection_as_well(monkeypatch):
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.3)

    async def trickle(connection: Connection) -> None:
        with contextlib.suppress(ConnectionError):
            await connection.send(b"POST /hooks/orders HTTP/1.1\r\n")
            while True:
                await connection.send(b"X-A: a\r\n")
                await asyncio.sleep(0.05)

    async with serving() as served:
        first_request_done = await served.connect()
        await first_request_done.send(POST)
        await first_request_done.answer()
        for connection in (first_request_done, await served.connect()):
            trickling = asyncio.create_task(trickle(connection))
            assert (await connection.answer())[0] == 408
            trickling.cancel()


async def test_slow_senders_do_not_hold_up_others():
    async with serving() as served:
        slow = [await served.connect() for _ in range(200)]
        for connection in slow:
            await connection.send(b"POST /hooks/orders HTTP/1.1\r\nHost: g\r\nContent-Length: 100\r\n")
        for connection in slow[:100]:
            await connection.send(b"\r\n{")
        assert (await served.post({})).status_code == 202
        assert not any(connection.reader.at_eof() for connection in slow)


@pytest.mark.parametrize("pieces", [1, 100])
async def test_headers_beyond_64_kib_are_431(pieces):
    line = b"X-Long: " + b"a" * (70 * 1024 // pieces) + b"\r\n"
    async with serving() as served:
        connection = await served.connect()
        with contextlib.suppress(ConnectionError):
            await connection.send(b"POST /hooks/orders HTTP/1.1\r\n", *[line] * pieces)
        status, headers, _ = await connection.answer()
        assert (status, headers["connection"]) == (431, "close")
        assert served.ended("large_headers") == 1
        assert await served.executions() == []


async def test_more_headers_than_anybody_sends_are_431():
    line = b"a: b\r\n"
    async with serving() as served:
        for count, status in ((250, 202), (300, 431)):
            connection = await served.connect()
            await connection.send(POST.replace(b"Host: g\r\n", b"Host: g\r\n" + line * count))
            assert (await connection.answer())[0] == status
        assert await connection.is_closed()
        assert served.ended("large_headers") == 1


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["that do not end", "that end"])
async def test_large_headers_of_all_connections_have_one_bound(end, monkeypatch):
    """Others, whose headers are as large as usual, are not affected."""
    monkeypatch.setattr(protocol, "HELD_HEADERS", 100 * 1024)
    head = b"POST /hooks/orders HTTP/1.1\r\nHost: g\r\nContent-Length: 9\r\nX-Long: " + b"a" * 50_000
    async with serving() as served:
        for connection in [await served.connect() for _ in range(2)]:
            await connection.send(head + end)
        third = await served.connect()
        await third.send(head + end)
        status, headers, _ = await third.answer()
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert (await served.post({})).status_code == 202
        for connection in served.opened[:2]:
            await connection.close()
        while served.app.state.held_headers.bytes:
            await asyncio.sleep(0.01)
        again = await served.connect()
        await again.send(head + b"\r\n\r\n" + b"123456789")
        assert (await again.answer())[0] == 202


async def test_of_many_requests_at_once_some_are_answered():
    async with serving() as served:
        connection = await served.connect()
        with contextlib.suppress(ConnectionError):
            await connection.send(POST * 200)
        answered = 0
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                assert (await connection.answer())[0] == 202
                answered += 1
        assert 1 <= answered <= protocol.PIPELINED_REQUESTS + 1
        assert served.ended("pipelined") == 1
        assert (await served.post({})).status_code == 202


async def test_what_comes_behind_an_unanswered_request_is_bounded():
    large = POST.replace(b"Length: 2", b"Length: 500000")[:-2] + b" " * 500_000
    async with serving(WAITING) as served:
        connection = await served.connect()
        with contextlib.suppress(ConnectionError):
            await connection.send(POST + large)
        await served.end(await served.accepted(), output="done")
        assert (await connection.answer())[2] == b"done"
        assert served.ended("pipelined") == 1
        assert len(await served.executions()) == 1


async def test_a_request_that_comes_in_part_with_the_one_before_is_answered():
    async with serving() as served:
        connection = await served.connect()
        await connection.send(POST + POST[:40])
        assert (await connection.answer())[0] == 202
        await connection.send(POST[40:])
        assert (await connection.answer())[0] == 202
        assert len(await served.executions()) == 2


async def test_bodies_that_stall_hold_the_budget_only_while_nobody_else_needs_it(monkeypatch):
    monkeypatch.setattr(budget, "SLOW_SECONDS", 0.0)
    async with serving(max_body_bytes=10_000, max_inflight_bytes=20_000) as served:
        stalled = [await served.connect() for _ in range(2)]
        for connection in stalled:
            await connection.send(POST.replace(b"Length: 2", b"Length: 10000"), b"x" * 9_000)
        while served.app.state.bodies.held < 18_000:
            await asyncio.sleep(0.01)
        assert (await served.post({"a": "x" * 5_000})).status_code == 202
        status, headers, _ = await stalled[0].answer()
        assert (status, headers["retry-after"]) == (503, "5")
        await stalled[1].send(b"x" * 998)
        assert (await stalled[1].answer())[0] == 400  # x is not JSON: it was read to its end
    assert served.app.state.bodies.held == 0


async def test_an_idle_connection_is_closed(monkeypatch):
    monkeypatch.setattr(serve, "KEEP_ALIVE_SECONDS", 0.1)
    async with serving() as served:
        connection = await served.connect()
        await connection.send(POST)
        assert (await connection.answer())[0] == 202
        assert await connection.is_closed()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /hooks/orders HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /hooks/orders HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        b"POST /hooks/orders HTTP/1.1\r\nHost: g\r\nContent-Length: -2\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_400(sent):
    async with serving() as served:
        connection = await served.connect()
        await connection.send(sent)
        status, headers, _ = await connection.answer()
        assert (status, headers["content-type"], headers["connection"]) == (400, "application/problem+json", "close")
        assert served.ended("malformed") == 1
        assert await served.executions() == []


async def test_connections_beyond_the_limit_are_503():
    async with serving(max_connections=2) as served:
        held = [await served.connect() for _ in range(2)]
        for connection in held:
            await connection.send(POST)
            await connection.answer()
        third = await served.connect()
        status, headers, _ = await third.answer()
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert served.ended("too_many") == 1
        await held[0].close()
        while len(served.server.server_state.connections) > 1:
            await asyncio.sleep(0.01)
        assert (await served.post({})).status_code == 202


async def test_a_sender_that_still_sends_its_large_body_reads_the_413(monkeypatch):
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.3)
    async with serving(max_body_bytes=1000) as served:
        connection = await served.connect()
        await connection.send(POST.replace(b"Length: 2", b"Length: 9000000"), b"x" * 100_000)
        assert (await connection.answer())[0] == 413
        assert await connection.is_closed()


async def test_after_a_413_whose_body_came_whole_the_connection_goes_on():
    async with serving(max_body_bytes=1000) as served:
        connection = await served.connect()
        await connection.send(POST.replace(b"Length: 2", b"Length: 5002"), b"x" * 5000)
        assert (await connection.answer())[0] == 413
        await connection.send(POST)
        assert (await connection.answer())[0] == 202


async def test_a_sender_may_ask_before_it_sends_its_body():
    async with serving() as served:
        connection = await served.connect()
        await connection.send(POST.replace(b"Host: g", b"Host: g\r\nExpect: 100-continue")[:-2])
        assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await connection.send(b"{}")
        assert (await connection.answer())[0] == 202


@pytest.mark.parametrize("offered", [b"h2c", b"websocket"])
@pytest.mark.parametrize("pieces", [1, 2, 200])
async def test_a_sender_that_offers_another_protocol_is_served_by_http_1(offered, pieces):
    """As Java's own client does on connections without TLS."""
    offer = b"Host: g\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: " + offered + b"\r\nHTTP2-Settings: AAEA"
    sent = POST.replace(b"Host: g", offer).replace(b"{}", b"42") * 2
    size = -(-len(sent) // pieces)
    async with serving() as served:
        connection = await served.connect()
        await connection.send(*[sent[at : at + size] for at in range(0, len(sent), size)])
        assert [(await connection.answer())[0] for _ in range(2)] == [202, 202]
        assert [execution.event["body"] for execution in await served.executions()] == [42, 42]


async def test_a_proxys_word_on_the_senders_address_counts_only_if_it_is_trusted():
    forwarded = {"X-Forwarded-For": "192.0.2.1"}
    async with serving(rate_limit_per_sender="1/hour", forwarded_allow_ips="127.0.0.1") as served:
        assert (await served.post({}, headers=forwarded)).status_code == 202
        assert (await served.post({}, headers={"X-Forwarded-For": "192.0.2.2"})).status_code == 202
        assert (await served.post({}, headers=forwarded)).status_code == 429
    async with serving(rate_limit_per_sender="1/hour", forwarded_allow_ips="10.0.0.1") as served:
        assert (await served.post({}, headers=forwarded)).status_code == 202
        assert (await served.post({}, headers={"X-Forwarded-For": "192.0.2.2"})).status_code == 429


async def test_a_sender_that_hangs_up_cancels_its_execution():
    async with serving(WAITING) as served:
        connection = await served.connect()
        await connection.send(POST)
        execution_id = await served.accepted()
        await connection.close()
        async with asyncio.timeout(20):
            while not (await served.store.execution(execution_id)).status.is_final:  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
        [execution] = await served.executions()
    assert execution.status is Status.CANCELLED


async def test_a_gateway_that_stops_answers_those_it_has_let_in_and_no_others():
    async with serving(ORDERS, WAITING.replace("name: orders", "name: slow")) as served:
        idle, waiting = await served.connect(), await served.connect()
        await idle.send(POST)
        await idle.answer()
        [first] = await served.executions()
        await waiting.send(POST.replace(b"/orders", b"/slow"))
        while len(await served.executions()) < 2:
            await asyncio.sleep(0.01)
        served.server.should_exit = True
        while not served.app.state.intake.stopped:
            await asyncio.sleep(0.01)
        with pytest.raises(ConnectionError):
            await served.connect()
        await idle.send(POST)
        status, headers, _ = await idle.answer()
        assert (status, headers["retry-after"], headers["connection"]) == (503, "5", "close")
        [_, second] = await served.executions()
        await served.end(second.id, output="done")
        status, headers, body = await waiting.answer()
        assert (status, headers["connection"], body) == (200, "close", b"done")
    assert len(await served.executions()) == 2
    assert first.id


async def test_a_gateway_that_stops_lets_nobody_wait_longer_than_it_can(monkeypatch):
    monkeypatch.setattr(serve, "GIVE_UP_SECONDS", 0.1)
    async with serving(WAITING) as served:
        waiting = await served.connect()
        await waiting.send(POST)
        execution_id = await served.accepted()
        served.server.should_exit = True
        status, _, body = await waiting.answer()
    assert status == 202
    assert execution_id.encode() in body


class Process:
    """`ipaas gateway` as a process of its own."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._home = home

    async def __aenter__(self) -> Process:
        environment = os.environ | {
            "IPAAS_HOME": str(self._home),
            "PREFECT_HOME": str(self._home / "prefect"),
            "PREFECT_API_URL": AWAY,
        }
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ipaas", "gateway", "--port", str(self.port), env=environment
        )
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", trust_env=False)
        async with asyncio.timeout(60):
            while self.process.returncode is None:
                with contextlib.suppress(httpx.TransportError):
                    if (await self.http.get("/healthz")).status_code == 200:
                        break
                await asyncio.sleep(0.1)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.http.aclose()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def test_two_gateways_serve_one_database_and_one_may_go(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "orders.yaml").write_text(ORDERS)
    database = f"sqlite:///{home / 'ipaas.db'}"
    await upgrade(database)
    store = open_store(database)
    await store.open()
    await store.publish(yaml_version(home / "orders.yaml"))

    async def send(gateway: Process, key: str) -> dict[str, Any]:
        answer = await gateway.http.post("/hooks/orders", json={}, headers={"Idempotency-Key": key})
        assert answer.status_code == 202
        document: dict[str, Any] = answer.json()
        return document

    async with Process(home) as one, Process(home) as other:
        first = await send(one, "k1")
        again = await send(other, "k1")
        assert (again["execution_id"], again["status"]) == (first["execution_id"], "duplicate")
        one.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(one.process.wait(), 30)
        await send(other, "k2")
    page = await store.executions()
    await store.close()
    assert len(page.items) == 2
