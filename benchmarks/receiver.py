"""Where the effects arrive: an HTTP server that remembers when, as a process of its own.

A POST of `{"n": 7}` to any path is the effect of event 7 there; only the first counts. What the benchmark asks it:
`GET /wait/PATH?count=N` answers once N different events have arrived at the path, `GET /wait/PATH?n=7` once event 7
has; `GET /arrivals/PATH` tells when each did, in seconds of the machine's monotonic clock; `DELETE /` forgets all.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qs

import httptools
import uvloop


class Arrivals:
    """When which event arrived at which path, and who waits for it."""

    def __init__(self) -> None:
        self._at: dict[str, dict[int, float]] = defaultdict(dict)
        self._waiting: dict[str, list[tuple[Callable[[dict[int, float]], bool], Callable[[], None]]]] = defaultdict(
            list
        )

    def add(self, path: str, n: int, now: float) -> None:
        seen = self._at[path]
        if n in seen:
            return
        seen[n] = now
        if waiting := self._waiting.get(path):
            self._waiting[path] = [(enough, tell) for enough, tell in waiting if not _told(enough(seen), tell)]

    def of(self, path: str) -> dict[int, float]:
        return self._at[path]

    def when(self, path: str, enough: Callable[[dict[int, float]], bool], tell: Callable[[], None]) -> None:
        """Calls `tell` as soon as there is enough at the path; at once if there is."""
        if not _told(enough(self._at[path]), tell):
            self._waiting[path].append((enough, tell))

    def forget(self) -> None:
        self._at.clear()
        self._waiting.clear()


def _told(now: bool, tell: Callable[[], None]) -> bool:
    if now:
        tell()
    return now


class _Connection(asyncio.Protocol):
    """One kept connection; parsed by httptools, which calls the methods without a docstring."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url, self._body = b"", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url, self._body = b"", b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method()
        path, _, query = self._url.decode().partition("?")
        if method == b"POST":
            self._arrivals.add(path, int(json.loads(self._body)["n"]), time.monotonic())
            self._answer({"ok": True})
        elif method == b"DELETE":
            self._arrivals.forget()
            self._answer({"ok": True})
        elif path.startswith("/wait/"):
            self._arrivals.when(path.removeprefix("/wait"), _enough(query), lambda: self._answer({"ok": True}))
        else:
            seen = self._arrivals.of(path.removeprefix("/arrivals"))
            self._answer({"n": list(seen), "at": list(seen.values())})

    def _answer(self, document: object) -> None:
        body = json.dumps(document).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        if self._transport and not self._transport.is_closing():
            self._transport.write(head + body)
            if not self._parser.should_keep_alive():
                self._transport.close()


def _enough(query: str) -> Callable[[dict[int, float]], bool]:
    asked = {name: int(values[0]) for name, values in parse_qs(query).items()}
    if "n" in asked:
        return lambda seen: asked["n"] in seen
    return lambda seen: len(seen) >= asked["count"]


@dataclass(frozen=True)
class Receiver:
    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def receiving() -> Iterator[Receiver]:
    """The receiver, running."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.receiver"], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        with process.stdout:
            port = int(process.stdout.readline())
        yield Receiver(port, process.pid)
    finally:
        process.terminate()
        process.wait(10)


async def _serve() -> None:
    arrivals = Arrivals()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(arrivals), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
