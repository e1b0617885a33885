"""The load generator: a process of its own that sends events and tells when each was sent, answered and had its effect.

`run` starts it with a `Job` on its standard input and reads an `Outcome` from its standard output.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Literal

import uvloop

from benchmarks.connection import Connection

CONNECTIONS = 100
TRY_AGAIN_SECONDS = 0.2


Kind = Literal["idle", "answered", "storm", "sustained"]


@dataclass(frozen=True)
class Target:
    """Where an event goes: `body` is JSON in which `{n}` stands for the event's number."""

    port: int
    path: str
    body: str = '{"n": {n}}'
    says: str = ""
    """What stands in an answer that accepts: n8n answers 200 while it is starting, too."""


@dataclass(frozen=True)
class Job:
    """What to send.

    Kinds: `idle` sends one event, waits for its effect, then `pause` seconds, and so on; `answered` the same, but waits
    for the answer alone; `storm` sends all over CONNECTIONS connections at once; `sustained` sends `rate` a second,
    whether the others have been answered or not.
    """

    kind: Kind
    target: Target
    receiver: int
    """The port where the effects arrive."""
    effect: str
    """The path where the last step's request arrives."""
    first: int
    """The number of the first event."""
    count: int
    rate: float = 0.0
    pause: float = 0.5
    seconds: float = 30.0
    """`idle` and `answered` stop after this time, but not before the third event."""
    patience: float = 300.0
    """Seconds until an answer, or all effects, are given up."""


@dataclass(frozen=True)
class Outcome:
    """Times are seconds of the machine's monotonic clock, by the event's number. `sent` is when an event was due."""

    sent: dict[int, float] = field(default_factory=dict)
    answered: dict[int, float] = field(default_factory=dict)
    """Those that got a 2xx."""
    arrived: dict[int, float] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    """How many tries got another answer, or none, by what they got."""
    cpu_seconds: float = 0.0
    """Of the load generator."""


def run(job: Job) -> Outcome:
    """Raises CalledProcessError."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=json.dumps(asdict(job)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=job.patience * 2 + job.seconds + (job.count / job.rate if job.rate else job.count * job.pause),
    )
    raw = json.loads(done.stdout)
    times = {name: {int(n): at for n, at in raw[name].items()} for name in ("sent", "answered", "arrived")}
    return Outcome(**times, refused=raw["refused"], cpu_seconds=raw["cpu_seconds"])


class _Senders:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._outcome = Outcome()
        self._receiver = Connection(job.receiver, patience=job.patience)

    async def run(self) -> Outcome:
        kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "idle": self._one_by_one,
            "answered": self._one_by_one,
            "storm": self._storm,
            "sustained": self._sustained,
        }
        await self._receiver.delete("/")
        began = time.process_time()
        await kinds[self._job.kind]()
        if self._job.kind != "answered":
            await self._wait(f"count={len(self._outcome.answered)}")
        spent = time.process_time() - began
        arrivals = json.loads(await self._receiver.get(f"/arrivals{self._job.effect}"))
        arrived = dict(zip(arrivals["n"], arrivals["at"], strict=True))
        out = self._outcome
        return Outcome(out.sent, out.answered, arrived, out.refused, spent)

    def _numbers(self) -> range:
        return range(self._job.first, self._job.first + self._job.count)

    async def _one_by_one(self) -> None:
        connection = self._connection()
        end = time.monotonic() + self._job.seconds
        for done, n in enumerate(self._numbers()):
            if done >= 3 and time.monotonic() > end:
                return
            await self._send(connection, n, time.monotonic())
            if self._job.kind == "idle" and n in self._outcome.answered:
                await self._wait(f"n={n}")
            await asyncio.sleep(self._job.pause)

    async def _storm(self) -> None:
        numbers = iter(self._numbers())

        async def sender() -> None:
            connection = self._connection()
            for n in numbers:
                await self._send(connection, n, time.monotonic())

        await asyncio.gather(*(sender() for _ in range(min(CONNECTIONS, self._job.count))))

    async def _sustained(self) -> None:
        """Each event is due at its time, however late the others are: what waits here for a connection counts."""
        began, due = time.monotonic(), iter(self._numbers())

        async def sender() -> None:
            connection = self._connection()
            for n in due:
                at = began + (n - self._job.first) / self._job.rate
                await asyncio.sleep(max(0.0, at - time.monotonic()))
                await self._send(connection, n, min(at, time.monotonic()))  # the timer may be a millisecond early

        await asyncio.gather(*(sender() for _ in range(min(CONNECTIONS, self._job.count))))

    async def _send(self, connection: Connection, n: int, due: float) -> None:
        """Until it is accepted, as senders of webhooks do; gives up after the job's patience."""
        out = self._outcome
        out.sent[n] = due
        body = self._job.target.body.replace("{n}", str(n)).encode()
        while time.monotonic() < due + self._job.patience:
            try:
                status, _ = await connection.post(self._job.target.path, body)
            except (OSError, TimeoutError) as error:
                answer = type(error).__name__
            else:
                if 200 <= status < 300:
                    out.answered[n] = time.monotonic()
                    return
                answer = str(status)
            out.refused[answer] = out.refused.get(answer, 0) + 1
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def _wait(self, what: str) -> None:
        """For effects; gives up after the job's patience, and then the outcome says what did not arrive."""
        try:
            await self._receiver.get(f"/wait{self._job.effect}?{what}")
        except TimeoutError:
            print(f"load: gave up waiting for {what} at {self._job.effect}", file=sys.stderr)

    def _connection(self) -> Connection:
        return Connection(self._job.target.port, patience=self._job.patience)


if __name__ == "__main__":
    raw = json.load(sys.stdin)
    job = Job(**raw | {"target": Target(**raw["target"])})
    json.dump(asdict(uvloop.run(_Senders(job).run())), sys.stdout)
