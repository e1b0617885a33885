"""Storms: many senders at once that try again until they are acknowledged, and what became of their events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import httpx
from platform_process import Platform, Sink

WORKFLOW = """
name: storm
description: Two steps with an effect each.
triggers: [{webhook: {auth: none}}]
steps:
  - {id: first, uses: http.request, with: {method: POST, url: "http://sink/first", json: {n: "{{ event.body.n }}"}}}
  - {id: second, uses: http.request, with: {method: POST, url: "http://sink/second", json: {n: "{{ event.body.n }}"}}}
"""
CONNECTIONS = 100
TRY_AGAIN_SECONDS = 0.5
GIVE_UP_SECONDS = 120.0


@dataclass
class Sent:
    """What the senders saw."""

    acknowledged: dict[int, str] = field(default_factory=dict)
    """The execution of each event that got its 202."""
    tries: int = 0
    accept_seconds: list[float] = field(default_factory=list)
    """How long each 202 took."""


@dataclass(frozen=True)
class Outcome:
    """One row of the table."""

    mode: str
    killed: str
    events: int
    tries: int
    acknowledged: int
    lost: int
    repeated: int
    """Effects that happened more than once."""
    p99_accept: float
    """Seconds."""
    run_seconds: float
    """From the first event to the end of the last execution."""

    @staticmethod
    def table(rows: Sequence[Outcome]) -> list[str]:
        head = [
            "mode",
            "killed",
            "events",
            "requests",
            "acknowledged",
            "lost",
            "repeated effects",
            "p99 accept",
            "all ended after",
        ]
        lines = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * 2 + ['---:'] * (len(head) - 2))} |"]
        for row in rows:
            counts = f"{row.events} | {row.tries} | {row.acknowledged} | {row.lost} | {row.repeated}"
            lines.append(
                f"| {row.mode} | {row.killed} | {counts} | {row.p99_accept * 1000:.0f} ms | {row.run_seconds:.0f} s |"
            )
        return lines


class Connection:
    """One kept connection to the gateway; it measures the gateway, where a client library would measure itself."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, n: int) -> tuple[int, dict[str, Any]]:
        """Status and JSON. Raises OSError, EOFError when the connection breaks; the next post opens a new one."""
        try:
            async with asyncio.timeout(30):
                return await self._post(path, json.dumps({"n": n}).encode(), f"storm-{n}")
        except (OSError, EOFError):
            self.close()
            raise

    async def _post(self, path: str, body: bytes, delivery: str) -> tuple[int, dict[str, Any]]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        head += f"Idempotency-Key: {delivery}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        answer = json.loads(await reader.readexactly(int(headers["content-length"])))
        if headers.get("connection") == "close":
            self.close()
        return int(status.split()[1]), answer

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None


def send_storm(url: str, events: int, interrupt: Callable[[], None] | None = None) -> Sent:
    """Sends that many events over CONNECTIONS connections; calls `interrupt` once half of them are acknowledged."""
    sent = Sent()
    interrupting = Thread(target=interrupt) if interrupt else None
    address = urlsplit(url)

    async def send(connection: Connection, n: int) -> None:
        end = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < end:
            sent.tries += 1
            began = time.perf_counter()
            try:
                status, answer = await connection.post(address.path, n)
            except (OSError, EOFError):
                await asyncio.sleep(TRY_AGAIN_SECONDS)
                continue
            if status == 202:
                sent.accept_seconds.append(time.perf_counter() - began)
                sent.acknowledged[n] = answer["execution_id"]
                if interrupting and len(sent.acknowledged) == events // 2:
                    interrupting.start()
                return
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def sender(numbers: Sequence[int]) -> None:
        connection = Connection(str(address.hostname), int(address.port or 80))
        for n in numbers:
            await send(connection, n)
        connection.close()

    async def storm() -> None:
        await asyncio.gather(*(sender(range(first, events, CONNECTIONS)) for first in range(CONNECTIONS)))

    asyncio.run(storm())
    if interrupting:
        interrupting.join()
    return sent


def wait_until_all_ended(platform: Platform, seconds: float) -> None:
    """Fails when executions are still under way after so long (a bound on hanging)."""
    end = time.monotonic() + seconds
    while under_way(platform):
        assert time.monotonic() < end, f"executions are still under way after {seconds:g} s"
        time.sleep(1)


def under_way(platform: Platform) -> bool:
    try:
        return any(platform.executions(status=status, limit=1) for status in ("accepted", "running"))
    except (httpx.HTTPError, KeyError):  # it is away, or can't answer
        return True


def p99(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=100)[98]


def first_steps_run_after_second(sink: Sink) -> list[int]:
    """The events whose first step ran again although their second had begun."""
    begun, again = set(), []
    for request in list(sink.received):
        if request.path == "/second":
            begun.add(request.body["n"])
        elif request.body["n"] in begun:
            again.append(request.body["n"])
    return again
