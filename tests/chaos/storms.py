"""Storms: many senders at once that try again until they are acknowledged, and what became of their events."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from threading import Thread

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
    answers: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class Outcome:
    """One row of the table."""

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
            "killed",
            "events",
            "requests",
            "acknowledged",
            "lost",
            "repeated effects",
            "p99 accept",
            "all ended after",
        ]
        lines = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] + ['---:'] * (len(head) - 1))} |"]
        for row in rows:
            counts = f"{row.events} | {row.tries} | {row.acknowledged} | {row.lost} | {row.repeated}"
            lines.append(f"| {row.killed} | {counts} | {row.p99_accept * 1000:.0f} ms | {row.run_seconds:.0f} s |")
        return lines


def send_storm(url: str, events: int, interrupt: Callable[[], None] | None = None) -> Sent:
    """Sends that many events over CONNECTIONS connections; calls `interrupt` once half of them are acknowledged."""
    sent = Sent()
    interrupting = Thread(target=interrupt) if interrupt else None

    async def send(client: httpx.AsyncClient, n: int) -> None:
        end = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < end:
            sent.tries += 1
            began = time.perf_counter()
            try:
                answer = await client.post(url, json={"n": n}, headers={"idempotency-key": f"storm-{n}"})
            except httpx.TransportError:
                await asyncio.sleep(TRY_AGAIN_SECONDS)
                continue
            sent.answers[answer.status_code] += 1
            if answer.status_code == 202:
                sent.accept_seconds.append(time.perf_counter() - began)
                sent.acknowledged[n] = answer.json()["execution_id"]
                if interrupting and len(sent.acknowledged) == events // 2:
                    interrupting.start()
                return
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def sender(client: httpx.AsyncClient, numbers: Sequence[int]) -> None:
        for n in numbers:
            await send(client, n)

    async def storm() -> None:
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        async with httpx.AsyncClient(limits=limits, timeout=30, trust_env=False) as client:
            await asyncio.gather(*(sender(client, range(first, events, CONNECTIONS)) for first in range(CONNECTIONS)))

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
