"""The same work for every contestant: rounds in turn, so that a noisy moment of the machine hits all alike."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import psutil

from benchmarks import load
from benchmarks.contestants import Contestant
from benchmarks.contestants.contestant import Running, Unavailable, Work
from benchmarks.load import Job, Kind, Outcome
from benchmarks.processes import Tree, at_rest, settle, since
from benchmarks.receiver import Receiver, receiving
from benchmarks.results import Latency, Result, Round, Storm, Sustained, percentile

SAMPLES = 20
WARM_SECONDS = 2.0
"""Storms grow until one takes this long: it warms up, and tells how many events a measured one needs."""
MOST_EVENTS = 5_000
READY_SECONDS = 180.0
SHARE = 0.7
"""The sustained rate, of what the storms reached."""


@dataclass(frozen=True)
class Plan:
    rounds: int
    storm_seconds: float
    """About how long a storm takes."""
    sustain_seconds: float
    """0: no sustained load."""


def race(contestants: Sequence[Contestant], plan: Plan, folder: Path) -> list[Result]:
    """All contestants' results, in their order. `folder` is empty; what they write is left there."""
    with receiving() as receiver, ExitStack() as clearing:
        lanes = [Lane(one, receiver, plan) for one in contestants]
        for lane in lanes:
            clearing.callback(lane.contestant.clear)
            lane.guarded(partial(lane.contestant.prepare, folder / lane.contestant.key, receiver.url))
        for number in range(plan.rounds):
            for lane in lanes:
                lane.guarded(partial(lane.round, last=number == plan.rounds - 1))
    return [lane.result for lane in lanes]


@dataclass
class Lane:
    """One contestant's way through the race."""

    contestant: Contestant
    receiver: Receiver
    plan: Plan
    events: int = 0
    """Of a storm; known after the first round's warm-up."""
    next: int = 1
    """The number of the next event."""
    result: Result = field(init=False)

    def __post_init__(self) -> None:
        one = self.contestant
        self.result = Result(one.key, one.title, one.version, one.store)

    def guarded(self, act: Callable[[], None]) -> None:
        """Does it, unless the contestant has dropped out; what goes wrong is written to its result."""
        if self.result.unavailable:
            return
        try:
            act()
        except (Unavailable, subprocess.SubprocessError, OSError, httpx.HTTPError, psutil.Error) as error:
            self.result.unavailable = str(error) or type(error).__name__
            self.say(f"drops out: {self.result.unavailable}")

    def round(self, *, last: bool) -> None:
        """Starts it, measures everything, stops it; in the last round it has the sustained load, too."""
        self.say("starts")
        began = time.monotonic()
        running = self.contestant.start()
        try:
            ready, first_effect = self.first_event(running, began)
            warm = self.warm_up(running)
            self.events = self.events or max(20, min(MOST_EVENTS, int(warm * self.plan.storm_seconds)))
            settle(running.tree, {})
            resting = at_rest(running.tree, 3.0)
            memory = running.tree.memory()
            idle = self.send(running, Work.ONE, "idle", SAMPLES)
            answer = None
            if Work.ANSWER in running.targets:
                answered = self.send(running, Work.ANSWER, "answered", SAMPLES, pause=0.2)
                answer = latency(answered.sent, answered.answered)
            one = self._storm(running, Work.ONE, self.events, resting)
            three = self._storm(running, Work.THREE, max(10, self.events // 2), resting)
            measured = latency(idle.sent, idle.arrived)
            self.result.rounds.append(
                Round(ready, first_effect, memory, resting, measured, one, three, answer, running.tree.memory())
            )
            self.say(
                f"idle {measured.p50 * 1e3:.1f} ms, {one.rate:.1f} runs/s, {sum(one.cpu_ms.values()):.1f} ms CPU a run"
            )
            if last and self.plan.sustain_seconds:
                self.result.sustained = self._sustained(running)
        finally:
            running.stop()

    def first_event(self, running: Running, began: float) -> tuple[float, float]:
        """Seconds from `began` until an event is accepted, and until its effect. Raises Unavailable."""
        target, number = running.targets[Work.ONE], self._numbers(1)
        url, body = f"http://127.0.0.1:{target.port}{target.path}", target.body.replace("{n}", str(number))
        with httpx.Client(trust_env=False, timeout=READY_SECONDS) as client:
            client.delete(self.receiver.url)
            while not _accepts(client, url, body, target.says):
                if time.monotonic() > began + READY_SECONDS:
                    raise Unavailable(f"took no event within {READY_SECONDS:.0f} s of its start")
                for process in running.processes:
                    if process.poll() is not None:
                        raise Unavailable(f"ended with exit code {process.returncode} when it was started")
                time.sleep(0.05)
            ready = time.monotonic()
            client.get(f"{self.receiver.url}/wait{Work.ONE.effect}?n={number}")
            return ready - began, time.monotonic() - began

    def warm_up(self, running: Running) -> float:
        """Storms that grow. Runs a second, roughly."""
        count = 10
        while True:
            outcome = self.send(running, Work.ONE, "storm", count)
            seconds = _seconds(outcome)
            if seconds >= WARM_SECONDS or count >= MOST_EVENTS // 2:
                break
            count = min(count * 5, MOST_EVENTS // 2)
        self.send(running, Work.THREE, "storm", max(5, count // 10))
        return len(outcome.arrived) / seconds

    def _storm(self, running: Running, work: Work, count: int, resting: dict[str, float]) -> Storm:
        before, receiver, began = running.tree.cpu(), self._receiver_cpu(), time.monotonic()
        outcome = self.send(running, work, "storm", count)
        settle(running.tree, resting)
        took = time.monotonic() - began
        runs = max(1, len(outcome.arrived))
        spent = since(before, running.tree.cpu())
        accepts = [outcome.answered[n] - outcome.sent[n] for n in outcome.answered] or [float("inf")]
        return Storm(
            events=count,
            accept_p50=percentile(accepts, 0.5),
            accept_p99=percentile(accepts, 0.99),
            rate=len(outcome.arrived) / _seconds(outcome),
            cpu_ms={part: max(0.0, own - resting.get(part, 0.0) * took) / runs * 1e3 for part, own in spent.items()},
            harness_cpu_ms={
                "load generator": outcome.cpu_seconds / runs * 1e3,
                "receiver": (self._receiver_cpu() - receiver) / runs * 1e3,
            },
            refused=outcome.refused,
            lost=len(outcome.answered.keys() - outcome.arrived.keys()),
        )

    def _sustained(self, running: Running) -> Sustained:
        rate = SHARE * percentile([one.one.rate for one in self.result.rounds], 0.5)
        seconds = self.plan.sustain_seconds
        self.say(f"{rate:.1f} events/s for {seconds:.0f} s")
        began = time.monotonic()
        with Sampling(running.tree, every=max(1.0, seconds / 60)) as sampling:
            outcome = self.send(running, Work.ONE, "sustained", max(2, int(rate * seconds)), rate=rate)
        return Sustained(
            rate=rate,
            seconds=seconds,
            lag=lag(outcome, buckets=30),
            memory=[(at - began, parts) for at, parts in sampling.seen],
            refused=outcome.refused,
            lost=len(outcome.answered.keys() - outcome.arrived.keys()),
        )

    def send(self, running: Running, work: Work, kind: Kind, count: int, **how: float) -> Outcome:
        target, first = running.targets[work], self._numbers(count)
        return load.run(Job(kind, target, self.receiver.port, work.effect, first, count, **how))

    def _numbers(self, count: int) -> int:
        self.next += count
        return self.next - count

    def _receiver_cpu(self) -> float:
        times = psutil.Process(self.receiver.pid).cpu_times()
        return float(times.user + times.system)

    def say(self, what: str) -> None:
        name = f"{self.contestant.title} on {self.contestant.store}"
        print(f"{time.strftime('%H:%M:%S')} {name}: {what}", file=sys.stderr, flush=True)


class Sampling:
    """Looks at the memory of processes again and again, in a thread."""

    def __init__(self, tree: Tree, *, every: float) -> None:
        self.seen: list[tuple[float, dict[str, float]]] = []
        self._tree, self._every, self._over = tree, every, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Sampling:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            self.seen.append((time.monotonic(), self._tree.memory()))
            if self._over.wait(self._every):
                return


def latency(sent: dict[int, float], reached: dict[int, float]) -> Latency:
    """Raises Unavailable when nothing was reached."""
    taken = [at - sent[n] for n, at in reached.items() if n in sent]
    if not taken:
        raise Unavailable("no event had its effect")
    return Latency(percentile(taken, 0.5), percentile(taken, 0.9), len(taken))


def lag(outcome: Outcome, buckets: int) -> list[tuple[float, float, float]]:
    """Time since the beginning, p50 and p99 of the seconds from due to effect, in stretches of equal length."""
    if not outcome.arrived:
        return []
    began, end = min(outcome.sent.values()), max(outcome.sent.values())
    width = max((end - began) / buckets, 1e-9)
    by_bucket: dict[int, list[float]] = {}
    for n, at in outcome.arrived.items():
        bucket = min(buckets - 1, int((outcome.sent[n] - began) / width))
        by_bucket.setdefault(bucket, []).append(at - outcome.sent[n])
    return [
        ((bucket + 0.5) * width, percentile(taken, 0.5), percentile(taken, 0.99))
        for bucket, taken in sorted(by_bucket.items())
    ]


def _seconds(outcome: Outcome) -> float:
    """From the first event sent to the last effect. Raises Unavailable when there was none."""
    if not outcome.arrived:
        refused = ", ".join(f"{count} × {answer}" for answer, count in outcome.refused.items())
        raise Unavailable(f"no event had its effect ({refused or 'all were accepted'})")
    return max(outcome.arrived.values()) - min(outcome.sent.values())


def _accepts(client: httpx.Client, url: str, body: str, says: str) -> bool:
    try:
        answer = client.post(url, content=body, headers={"content-type": "application/json"})
    except httpx.TransportError:
        return False
    return answer.is_success and says in answer.text
