"""What a stranger can do to a real gateway with an unsigned hook: how long its loop stands still, how much it holds.

`python -m benchmarks.attacks pauses [PART OF A NAME]` sends what is worst to read, and tells the event loop's longest
pause for each. `python -m benchmarks.attacks stalled [N [PART OF A NAME]]` opens N connections that stall, and tells
how much memory they cost. The gateway is a process of its own, over SQLite, with Prefect away.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

MIB = 1024 * 1024
ROUNDS = 5
WORKFLOWS = {
    "plain": "",
    "checked": "input: {properties: {items: {type: array, items: {type: [integer, string, array, object]}}}}",
    "unique": "input: {type: object, properties: {items: {type: array, uniqueItems: true}}}",
    "known": "",
}


@dataclass
class Gateway:
    port: int
    pause: Any
    """The loop's longest pause since it was last set to 0, in seconds."""
    process: psutil.Process

    def memory(self) -> int:
        return int(self.process.memory_info().rss)


@contextmanager
def gateway() -> Iterator[Gateway]:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as home, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        pause, ready = context.Value("d", 0.0), context.Event()
        process = context.Process(target=_serve, args=(home, port, pause, ready), daemon=True)
        process.start()
        if not ready.wait(60):
            raise SystemExit("the gateway did not start")
        try:
            yield Gateway(port, pause, psutil.Process(process.pid))
        finally:
            process.terminate()
            process.join(30)
            process.kill()


def _serve(home: str, port: int, pause: Any, ready: Any) -> None:
    import os

    os.environ["PREFECT_API_URL"] = "http://127.0.0.1:9/api"
    os.environ["PREFECT_HOME"] = home
    from foundation.settings import Settings
    from ipaas.gateway.app import create_app
    from ipaas.gateway.serve import make_server

    settings = Settings(_env_file=None, home=Path(home), backlog=10_000_000)
    asyncio.run(_publish(settings))
    server = make_server(settings, create_app(settings), host="127.0.0.1", port=port)

    async def run() -> None:
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        watching = asyncio.create_task(_watch(pause))
        ready.set()
        await serving
        watching.cancel()

    import uvloop

    uvloop.run(run())


async def _publish(settings: Any) -> None:
    from flows.history import open_store
    from flows.history.migrations import upgrade
    from flows.on_prefect.compile import yaml_version

    await upgrade(settings.database)
    store = open_store(settings.database)
    await store.open()
    for name, more in WORKFLOWS.items():
        dedupe = ', dedupe: "{{ event.body.id | default(none) }}"' if name == "known" else ""
        file = settings.home / f"{name}.yaml"
        file.write_text(
            f"name: {name}\ntriggers: [{{webhook: {{auth: none{dedupe}}}}}]\n{more}\n"
            "steps: [{id: note, uses: log.message, with: {text: hello}}]\n"
        )
        await store.publish(yaml_version(file))
        await store.set_limit(name, 0)  # what is accepted stays so: this is about accepting
    await store.close()


async def _watch(pause: Any) -> None:
    """A pause is counted in the process's own time, where that is less: what else runs on the machine is not its."""
    while True:
        wall, own = time.perf_counter(), time.process_time()
        await asyncio.sleep(0.001)
        gap = min(time.perf_counter() - wall - 0.001, time.process_time() - own)
        pause.value = max(pause.value, gap)


# Pauses


def bodies() -> dict[str, bytes]:
    def filled(item: bytes, size: int = MIB - 64) -> bytes:
        return b'{"items":[' + item * (size // len(item) - 1) + item.rstrip(b",") + b"]}"

    deep = b"[" * 240 + b"]" * 240 + b","
    return {
        "numbers": filled(b"0,"),
        "empty arrays": filled(b"[],"),
        "nested arrays": filled(b"[[]],"),
        "objects": filled(b'{"":0},'),
        "deep arrays": filled(deep),
        "a chain of arrays": (b"[" + b"1," * 2_000) * 240 + b"1" + b"]" * 240,
        "thousands of digits": filled(b"9" * 4_299 + b","),
        "exponents": filled(b"1e99,"),
        "many keys": b'{"items":{' + b",".join(b'"%x":0' % n for n in range(100_000)) + b"}}",
        "escapes": b'{"items":["' + b"\\u00e9" * 170_000 + b'"]}',
        "unicode": ('{"items":["' + "\u00e9\U0001f600" * 170_000 + '"]}').encode(),
        "short texts": filled(b'"ab",'),
        "no JSON at the end": filled(b"0,")[:-2] + b"x]}",
        "brackets": b"[" * (MIB - 1),
    }


def requests() -> Iterator[tuple[str, bytes]]:
    """Names, and what goes over the wire."""
    for hook in ("plain", "checked", "known", "unique"):
        for name, body in bodies().items():
            yield f"{name} to a hook that is {hook}", _post(hook, body, b"application/json")
    items = ",".join(str(n) for n in range(7_000))
    yield "43 kB to be unique", _post("unique", f'{{"items":[{items}]}}'.encode(), b"application/json")
    form = b"application/x-www-form-urlencoded"
    many = b"&".join(b"field%d=%%41" % n for n in range(9_999))
    yield "a form of 9 999 fields", _post("plain", many + b"x" * (MIB - len(many) - 1), form)
    yield "a form of escapes", _post("plain", b"a=" + b"%C3%A9" * 170_000, form)
    yield "a form of one name", _post("plain", b"a=1&" * 9_999, form)
    yield "bytes", _post("plain", bytes(range(256)) * 4_000, b"application/octet-stream")
    yield "many query parameters", _post("plain", b"{}", b"application/json", query=b"&".join([b"a="] * 20_000))
    lines = b"".join(b"a%d:b\r\n" % n for n in range(8_000))
    yield "many headers", _post("plain", b"{}", b"application/json", headers=lines)
    yield "one header many times", _post("plain", b"{}", b"application/json", headers=b"a:b\r\n" * 12_000)
    yield "many requests at once", b"GET /hooks/x HTTP/1.1\r\n\r\n" * 10_000


def _post(hook: str, body: bytes, content_type: bytes, *, query: bytes = b"", headers: bytes = b"") -> bytes:
    target = b"/hooks/" + hook.encode() + (b"?" + query if query else b"")
    head = b"POST %s HTTP/1.1\r\nHost: g\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n"
    return head % (target, content_type, len(body)) + headers + b"\r\n" + body


async def _send(port: int, raw: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        writer.write(raw)
        await writer.drain()
    status = ""
    with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
        async with asyncio.timeout(120):
            status = (await reader.readline()).decode("latin-1").strip()
            await reader.read()
    writer.close()
    return status.removeprefix("HTTP/1.1 ")


async def pauses(only: str = "") -> None:
    with gateway() as under_attack:
        await _send(under_attack.port, _post("plain", b"{}", b"application/json"))
        for name, raw in (("at rest", b""), *requests()):
            if only not in name:
                continue
            seen, status, started = [], "", time.perf_counter()
            for _ in range(ROUNDS):
                under_attack.pause.value = 0
                if raw:
                    status = await _send(under_attack.port, raw)
                await asyncio.sleep(0.3)
                seen.append(under_attack.pause.value * 1000)
            seconds = (time.perf_counter() - started) / ROUNDS - 0.3
            print(
                f"{name:50} {status:28} pause {sorted(seen)[ROUNDS // 2]:6.1f} ms (worst {max(seen):6.1f}), "
                f"answered in {seconds:5.2f} s",
                flush=True,
            )


# Memory


def stalls() -> dict[str, bytes]:
    head = b"POST /hooks/plain HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n"
    small_lines = b"".join(b"a%d:b\r\n" % n for n in range(12_000))
    return {
        "nothing": b"",
        "half a header": head,
        "60 kB of one header": head + b"X-Long: " + b"a" * 60_000,
        "60 kB of small headers": head + small_lines[:60_000],
        "250 small headers": head + b"".join(b"a%d:b\r\n" % n for n in range(250)),
        "a body that does not begin": head + b"Content-Length: 1000000\r\n\r\n",
        "half a small body": head + b"Content-Length: 100\r\n\r\n" + b"{" * 50,
        "half a large body": head + b"Content-Length: 1000000\r\n\r\n" + b"{" * 500_000,
        "60 kB of headers and half a body": head
        + b"X-Long: " + b"a" * 60_000 + b"\r\nContent-Length: 1000000\r\n\r\n" + b"{" * 100_000,
    }  # fmt: skip


async def stalled(count: int, only: str = "") -> None:
    for name, raw in stalls().items():
        if only not in name:
            continue
        with gateway() as under_attack:
            await _send(under_attack.port, _post("plain", b"{}", b"application/json"))
            await asyncio.sleep(0.5)
            before = under_attack.memory()
            async with _holding(under_attack.port, raw, count) as open_at_once:
                most = before
                for _ in range(60):
                    most = max(most, under_attack.memory())
                    await asyncio.sleep(0.05)
                other = await asyncio.wait_for(_send(under_attack.port, _post("plain", b"{}", b"application/json")), 60)
            print(
                f"{name:34} {open_at_once:5} connections: {before / MIB:4.0f} MiB before, "
                f"{most / MIB:4.0f} MiB at most, {(most - before) / MIB:4.0f} MiB more; another sender gets {other}",
                flush=True,
            )


@contextlib.asynccontextmanager
async def _holding(port: int, raw: bytes, count: int) -> AsyncIterator[int]:
    writers: list[asyncio.StreamWriter] = []
    room = asyncio.Semaphore(200)

    async def hold() -> None:
        async with room:
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                async with asyncio.timeout(10):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writers.append(writer)
                    writer.write(raw)
                    await writer.drain()

    await asyncio.gather(*(hold() for _ in range(count)))
    try:
        yield len(writers)
    finally:
        for writer in writers:
            writer.close()


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or ["pauses"]
    if what == "pauses":
        asyncio.run(pauses(*rest))
    else:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (16_384, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        asyncio.run(stalled(int(rest[0]) if rest else 4_090, *rest[1:]))
